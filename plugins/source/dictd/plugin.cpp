// The entry of source-dictd.so.

#include "dictd_source.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::dictd::DictdSource, conclave::dictd::DictdOptions>(
    {.id = "source/dictd",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Articles of dictd databases: dictionaries and encyclopedias",
     .licence = "MIT"},
    conclave::dictd::dictd_options()))
