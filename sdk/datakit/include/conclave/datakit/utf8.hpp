// UTF-8 walking, and words: what filters count.
//
// What this is: a decoder that survives any bytes, classes of code points good enough for counting words in text of many
// scripts, and a cutter of words. What this is not: Unicode segmentation (UAX #29) or full case folding; ICU does those at
// a tenth of the speed, and the filters only need that equal texts give equal words.
//
// Threading: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::datakit {

/// What decode() returns for bytes that are no UTF-8.
inline constexpr char32_t replacement_character = U'\uFFFD';

/// The code point that starts at text[position]; position moves past it. A byte that starts no valid sequence gives
/// replacement_character and moves by one. Precondition: position < text.size().
inline char32_t decode(std::string_view text, std::size_t& position) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(position++);
  if (first < 0x80) return first;
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4 || position + static_cast<std::size_t>(more) > text.size())
    return replacement_character;
  char32_t code = first & (0x3Fu >> more);
  for (int i = 0; i < more; ++i) {
    const unsigned next = byte(position + static_cast<std::size_t>(i));
    if ((next & 0xC0) != 0x80) return replacement_character;
    code = (code << 6) | (next & 0x3F);
  }
  const bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
  if (overlong || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return replacement_character;
  position += static_cast<std::size_t>(more);
  return code;
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
