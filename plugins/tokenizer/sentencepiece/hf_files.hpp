// The files beside tokenizer.model that Hugging Face's LlamaTokenizer reads.
#pragma once

#include <string>

#include "conclave/status.hpp"
#include "model_proto.hpp"

namespace conclave::sentencepiece_plugin {

struct SpecialPieces {
  std::string unknown, beginning, end, padding; ///< empty: none
};

/// Writes tokenizer.model, tokenizer_config.json and special_tokens_map.json into an existing folder.
Status write_hf_files(const std::string& directory, const std::string& model, const ModelFacts& facts,
                      const SpecialPieces& special);

} // namespace conclave::sentencepiece_plugin
