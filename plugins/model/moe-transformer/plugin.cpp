// The entry of the library.

#include "conclave/plugin.hpp"
#include "model.hpp"

CONCLAVE_PLUGINS(
    conclave::describe_plugin<conclave::moe_transformer::MoeTransformer, conclave::moe_transformer::Config>(
        {.id = "model/moe-transformer",
         .version = "0.1.0",
         .output_revision = 1,
         .summary = "Decoder-only Transformer with dropless Mixture-of-Experts layers and hierarchical attention.",
         .licence = "MIT"},
        conclave::moe_transformer::option_table()))
