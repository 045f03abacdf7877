// The entry of source-megatron.so.

#include "megatron_source.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::megatron::MegatronSource, conclave::megatron::MegatronOptions>(
    {.id = "source/megatron",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Megatron's tokenised data (.idx and .bin), turned back into text",
     .licence = "MIT"},
    conclave::megatron::megatron_options()))
