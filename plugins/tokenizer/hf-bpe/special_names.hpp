// Which of a tokenizer's tokens begin and end a text and pad it: a tokenizer.json does not say.
//
// Threading: pure.
#pragma once

#include <string>
#include <vector>

#include "added_tokens.hpp"
#include "conclave/status.hpp"
#include "conclave/tokenizer.hpp"
#include "options.hpp"

namespace conclave::hf_bpe {

/// The names that training gives, where the options name none.
inline constexpr const char* trained_beginning = "<|begin_of_text|>";
inline constexpr const char* trained_end = "<|end_of_text|>";
inline constexpr const char* trained_padding = "<|pad|>";

/// Ids by the names of the options; where an option is empty, by the first usual name that the tokenizer has. A name of an
/// option that no added token has is an error.
Result<SpecialTokens> find_special_tokens(const Options& options, const std::vector<AddedToken>& added);

} // namespace conclave::hf_bpe
