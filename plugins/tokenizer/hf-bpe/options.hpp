// Options of tokenizer/hf-bpe.
#pragma once

#include <string>
#include <vector>

#include "conclave/options.hpp"

namespace conclave::hf_bpe {

/// Whose pre-tokeniser training uses.
enum class Family { gpt2, llama3, qwen2, deepseek3 };

struct Options {
  Path file; ///< empty: train
  bool match_special = true;
  std::string beginning, end, padding, unknown; ///< empty: the usual names
  // of training
  std::vector<std::string> special; ///< more special tokens
  Count vocabulary = 32000;
  Family family = Family::llama3;
  Count min_frequency = 2;
};
OptionTable option_table();

} // namespace conclave::hf_bpe
