// The entry of tokenizer-sentencepiece.so.

#include "sentencepiece_tokenizer.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::sentencepiece_plugin::SentencePieceTokenizer,
                                           conclave::sentencepiece_plugin::Options>(
    {.id = "tokenizer/sentencepiece",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "SentencePiece (BPE or unigram), trained on the run's text or given as a .model file",
     .licence = "MIT"},
    conclave::sentencepiece_plugin::option_table()))
