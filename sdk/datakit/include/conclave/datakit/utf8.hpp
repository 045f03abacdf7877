// UTF-8 walking, and words: what filters count.
//
// What this is: a decoder that survives any bytes, classes of code points good enough for counting words in text of many
// scripts, and a cutter of words. What this is not: Unicode segmentation (UAX #29) or full case folding; ICU does those at
// a tenth of the speed, and the filters only need that equal texts give equal words.
//
// Threading: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::datakit {

/// What decode() returns for bytes that are no UTF-8.
inline constexpr char32_t replacement_character = U'\uFFFD';

/// What stands at a position of a text that claims to be UTF-8.
struct Utf8Step {
  char32_t code;      ///< replacement_character when not valid
  std::size_t length; ///< bytes of the sequence, or of the maximal ill-formed subpart (Unicode 15, 3.9): 1 to 4
  bool valid;
};

/// The one decoder of host and plugins (Unicode 15, table 3-7: no surrogates, no overlong forms, nothing above U+10FFFF).
/// Precondition: position < text.size().
inline Utf8Step step_utf8(std::string_view text, std::size_t position) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, 1, true};
  if (first < 0xC2 || first > 0xF4) return {replacement_character, 1, false};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  // The second byte's range depends on the first: E0 and F0 exclude overlong forms, ED surrogates, F4 what is too large.
  unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  char32_t code = first & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if (position + i >= text.size() || byte(i) < low || byte(i) > high) return {replacement_character, i, false};
    code = (code << 6) | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {code, length, true};
}

/// The code point that starts at text[position]; position moves past it. A byte that starts no valid sequence gives
/// replacement_character and moves by one. Precondition: position < text.size().
inline char32_t decode(std::string_view text, std::size_t& position) noexcept {
  const Utf8Step step = step_utf8(text, position);
  position += step.valid ? step.length : 1;
  return step.code;
}

/// Appends a code point as UTF-8; one that is not a Unicode scalar value as replacement_character.
void append_utf8(char32_t code, std::string& out);

/// Text of Windows-1252 (and so of Latin-1) as UTF-8. The five bytes without a meaning become replacement_character.
std::string windows_1252_to_utf8(std::string_view text);

/// Bytes that are not continuation bytes: the number of code points of valid text.
std::int64_t count_characters(std::string_view text) noexcept;

/// True when the whole text is valid UTF-8.
bool is_valid_utf8(std::string_view text) noexcept;

/// The largest position <= limit of `text` that does not cut a code point (nor a surrounding valid sequence).
std::size_t character_boundary(std::string_view text, std::size_t limit) noexcept;

bool is_space(char32_t code) noexcept;
/// A letter, mark or digit of any script; no punctuation, symbol or space.
bool is_word_character(char32_t code) noexcept;
bool is_letter(char32_t code) noexcept;
/// Ideographs and kana, which are written without spaces: each counts as a word of its own.
bool is_unspaced(char32_t code) noexcept;
/// Lower case of Latin, Greek, Cyrillic, Armenian and full-width letters; others stay.
char32_t to_lower(char32_t code) noexcept;

/// Calls visit(std::string_view word) for each run of word characters in lower case (and each unspaced character).
/// The view is valid during the call. `scratch` is overwritten; pass the same one to spare allocations.
template <class Visit>
void for_each_word(std::string_view text, std::string& scratch, Visit&& visit) {
  scratch.clear();
  std::size_t position = 0;
  const auto flush = [&] {
    if (scratch.empty()) return;
    visit(std::string_view(scratch));
    scratch.clear();
  };
  while (position < text.size()) {
    const auto byte = static_cast<unsigned char>(text[position]);
    if (byte < 0x80) {
      ++position;
      const unsigned char lower = byte | 0x20;
      if (lower >= 'a' && lower <= 'z') {
        scratch.push_back(static_cast<char>(lower));
      } else if (byte >= '0' && byte <= '9') {
        scratch.push_back(static_cast<char>(byte));
      } else {
        flush();
      }
      continue;
    }
    const char32_t code = decode(text, position);
    if (!is_word_character(code)) {
      flush();
    } else if (is_unspaced(code)) {
      flush();
      append_utf8(code, scratch);
      flush();
    } else {
      append_utf8(to_lower(code), scratch);
    }
  }
  flush();
}

} // namespace conclave::datakit
