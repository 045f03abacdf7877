// The entry of tokenizer-hf-bpe.so.

#include "hf_bpe_tokenizer.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::hf_bpe::HfBpeTokenizer, conclave::hf_bpe::Options>(
    {.id = "tokenizer/hf-bpe",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Byte-level BPE of a Hugging Face tokenizer.json, given or trained on the run's text",
     .licence = "MIT"},
    conclave::hf_bpe::option_table()))
