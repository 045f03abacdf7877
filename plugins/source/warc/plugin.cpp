// The entry of source-warc.so.

#include "warc_source.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::warc::WarcSource, conclave::warc::WarcOptions>(
    {.id = "source/warc",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Web archives (WARC) and their extracted text (WET)",
     .licence = "MIT"},
    conclave::warc::warc_options()))
