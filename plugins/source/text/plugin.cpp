// The entry of source-text.so.

#include "text_source.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::text::TextSource, conclave::text::TextOptions>(
    {.id = "source/text",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Plain text files (also .gz and .zst), one document a file or a few paragraphs a document",
     .licence = "MIT"},
    conclave::text::text_options()))
