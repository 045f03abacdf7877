// Options of tokenizer/sentencepiece.
#pragma once

#include <optional>

#include "conclave/options.hpp"

namespace conclave::sentencepiece_plugin {

enum class Algorithm { bpe, unigram };

struct Options {
  Path model; ///< empty: train
  Count vocabulary = 8192;
  Algorithm algorithm = Algorithm::bpe;
  double character_coverage = 0.9995;
  bool byte_fallback = true;
  bool split_digits = true;
  bool add_dummy_prefix = false;
  bool remove_extra_whitespaces = false;
  bool padding = true;
  int longest_piece = 16;
  int threads = 4;
};
OptionTable option_table();

} // namespace conclave::sentencepiece_plugin
