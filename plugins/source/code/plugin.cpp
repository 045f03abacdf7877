// The entry of source-code.so.

#include "code_source.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::code::CodeSource, conclave::code::CodeOptions>(
    {.id = "source/code",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Trees of source code, a file a document, each with its language",
     .licence = "MIT"},
    conclave::code::code_options()))
