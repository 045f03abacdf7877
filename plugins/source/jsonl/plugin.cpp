// The entry of source-jsonl.so.

#include "jsonl_source.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::jsonl::JsonlSource, conclave::jsonl::JsonlOptions>(
    {.id = "source/jsonl",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Files of one JSON object a line, plain, gzip or zstd",
     .licence = "MIT"},
    conclave::jsonl::jsonl_options()))
