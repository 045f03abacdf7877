// The printable characters by which byte-level vocabularies (GPT-2's and all since) write bytes: a byte's own character
// where Latin-1 has a visible one, else the next free code point from U+0100 on.
//
// Threading: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace conclave::hf_bpe {

/// The code point that stands for a byte, U+0021 to U+0143.
[[nodiscard]] char32_t byte_character(unsigned char byte) noexcept;
/// Bytes as a vocabulary writes them.
[[nodiscard]] std::string to_visible(std::string_view bytes);
/// The bytes that a token of a vocabulary stands for; nothing when it has a character that stands for none.
[[nodiscard]] std::optional<std::string> from_visible(std::string_view token);

} // namespace conclave::hf_bpe
