// The pre-tokenisers of the families that training offers, and how a tokenizer.json writes them.
//
// Threading: pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "options.hpp"
#include "splitter.hpp"

namespace conclave::hf_bpe {

[[nodiscard]] Splitter splitter_of(Family family);
/// Texts are brought to NFC first.
[[nodiscard]] bool is_normalized(Family family) noexcept;
/// The members `normalizer` and `pre_tokenizer`.
[[nodiscard]] nlohmann::ordered_json normalizer_json(Family family);
[[nodiscard]] nlohmann::ordered_json pre_tokenizer_json(Family family);

} // namespace conclave::hf_bpe
