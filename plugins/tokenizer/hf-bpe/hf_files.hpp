// The files of Hugging Face's tokenizers.
#pragma once

#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "options.hpp"
#include "trainer.hpp"

namespace conclave::hf_bpe {

/// A trained model as tokenizer.json; its first special.size() tokens are special.
[[nodiscard]] std::string tokenizer_json(Family family, const TrainedModel& model,
                                         const std::vector<std::string>& special);

struct SpecialContents {
  std::string beginning, end, padding, unknown; ///< empty: none
};
/// Writes tokenizer.json as it is given, tokenizer_config.json and special_tokens_map.json into an existing folder.
Status write_hf_files(const std::string& directory, const std::string& tokenizer, const SpecialContents& special);

} // namespace conclave::hf_bpe
