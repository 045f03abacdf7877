// The rules behind WordCutter: what splits off a chunk (a run without white space) at its ends and inside.
//
// Threading: pure functions; the tables are built when first used.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace conclave::datakit::rules {

/// Classes of a byte; the union of a chunk's classes says which rules can apply to it.
enum Class : unsigned {
  space = 1,
  lower = 2,
  upper = 4,
  digit = 8,
  mark = 16,  ///< stands apart at either end of a chunk: , : ; ! ? ( ) [ ] { } < > _ # * &
  quote = 32, ///< likewise: ' " `
  other = 64, ///< also every byte above ASCII
};
inline constexpr unsigned letter = lower | upper, alphanumeric = letter | digit;

constexpr std::array<std::uint8_t, 256> make_classes() {
  std::array<std::uint8_t, 256> classes{};
  for (std::size_t c = 0; c < 256; ++c) {
    unsigned value = other;
    if (c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F)) value = space;
    if (c >= 'a' && c <= 'z') value = lower;
    if (c >= 'A' && c <= 'Z') value = upper;
    if (c >= '0' && c <= '9') value = digit;
    classes[c] = static_cast<std::uint8_t>(value);
  }
  for (const char c : {',', ':', ';', '!', '?', '(', ')', '[', ']', '{', '}', '<', '>', '_', '#', '*', '&'})
    classes[static_cast<unsigned char>(c)] = mark;
  for (const char c : {'\'', '"', '`'}) classes[static_cast<unsigned char>(c)] = quote;
  return classes;
}
inline constexpr std::array<std::uint8_t, 256> classes = make_classes();
inline unsigned class_of(char byte) noexcept { return classes[static_cast<unsigned char>(byte)]; }

/// A word that the rules would cut elsewhere or not at all: contractions, abbreviations, emoticons.
struct Special {
  std::uint8_t pieces = 0;
  std::uint8_t lengths[3] = {}; ///< bytes; they sum to the word's
};
/// Null for any other word.
const Special* find_special(std::string_view word) noexcept;

/// Bytes of what stands apart at the beginning or at the end; 0 for nothing.
std::size_t prefix_length(std::string_view chunk) noexcept;
std::size_t suffix_length(std::string_view chunk) noexcept;

/// Bytes of a unit that ends the chunk behind a digit: 2 for `10km`; 0 for none.
std::size_t unit_length(std::string_view chunk) noexcept;

struct Infix {
  std::size_t begin = 0, length = 0; ///< length 0: none
};
/// The first one at or after `from`.
Infix next_infix(std::string_view chunk, std::size_t from) noexcept;

/// A URL, a host name or an e-mail address from end to end.
bool is_url(std::string_view chunk) noexcept;

} // namespace conclave::datakit::rules
