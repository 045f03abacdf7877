// UTF-8 walking, and words: the tables behind conclave/datakit/utf8.hpp.

#include "conclave/datakit/utf8.hpp"

#include <algorithm>
#include <iterator>

namespace conclave::datakit {
namespace {

struct Range {
  char32_t first, last;
};

// Blocks above ASCII that hold punctuation, symbols or spaces and no letters. Sorted. Everything else above U+00A9 counts
// as a word character: a letter of an unknown script must not vanish, and a rare symbol taken for one harms nobody.
constexpr Range not_word[] = {
    {0x0080, 0x00A9},    {0x00AB, 0x00B1}, {0x00B4, 0x00B4}, {0x00B6, 0x00B8}, {0x00BB, 0x00BF}, {0x00D7, 0x00D7},
    {0x00F7, 0x00F7},    {0x02C2, 0x02C5}, {0x02D2, 0x02DF}, {0x037E, 0x037E}, {0x0387, 0x0387}, {0x055A, 0x055F},
    {0x0589, 0x058F},    {0x05BE, 0x05BE}, {0x05C0, 0x05C0}, {0x05C3, 0x05C3}, {0x05F3, 0x05F4}, {0x0606, 0x060F},
    {0x061B, 0x061F},    {0x066A, 0x066D}, {0x06D4, 0x06D4}, {0x0964, 0x0965}, {0x0E3F, 0x0E3F}, {0x0E4F, 0x0E4F},
    {0x0E5A, 0x0E5B},    {0x1680, 0x1680}, {0x2000, 0x206F}, {0x207A, 0x207E}, {0x208A, 0x208E}, {0x20A0, 0x20CF},
    {0x2100, 0x214F},    {0x2190, 0x245F}, {0x2500, 0x2BFF}, {0x2E00, 0x2E7F}, {0x2FF0, 0x3004}, {0x3008, 0x3020},
    {0x3030, 0x3030},    {0x303D, 0x303F}, {0x30FB, 0x30FB}, {0xD800, 0xF8FF}, {0xFE00, 0xFE1F}, {0xFE30, 0xFE6F},
    {0xFEFF, 0xFF0F},    {0xFF1A, 0xFF20}, {0xFF3B, 0xFF40}, {0xFF5B, 0xFF65}, {0xFFE0, 0xFFFF}, {0x1F000, 0x1FAFF},
    {0xE0000, 0x10FFFF},
};

constexpr Range unspaced[] = {
    {0x3005, 0x3007}, {0x3041, 0x3096}, {0x309D, 0x309F}, {0x30A1, 0x30FA}, {0x30FC, 0x30FF},
    {0x31F0, 0x31FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF}, {0x20000, 0x3FFFF},
};

// Digits above ASCII of the scripts that are met in practice.
constexpr Range other_digits[] = {
    {0x00B2, 0x00B3}, {0x00B9, 0x00B9}, {0x0660, 0x0669}, {0x06F0, 0x06F9}, {0x0966, 0x096F},
    {0x09E6, 0x09EF}, {0x0E50, 0x0E59}, {0x2070, 0x2089}, {0xFF10, 0xFF19},
};

template <std::size_t N>
bool contains(const Range (&ranges)[N], char32_t code) noexcept {
  const auto* found = std::lower_bound(std::begin(ranges), std::end(ranges), code,
                                       [](const Range& range, char32_t value) { return range.last < value; });
  return found != std::end(ranges) && found->first <= code;
}

bool is_ascii_letter(char32_t code) noexcept { return (code | 0x20) >= 'a' && (code | 0x20) <= 'z'; }
bool is_ascii_digit(char32_t code) noexcept { return code >= '0' && code <= '9'; }

} // namespace

void append_utf8(char32_t code, std::string& out) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = replacement_character;
  const auto push = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    push(code);
  } else if (code < 0x800) {
    push(0xC0 | (code >> 6));
    push(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    push(0xE0 | (code >> 12));
    push(0x80 | ((code >> 6) & 0x3F));
    push(0x80 | (code & 0x3F));
  } else {
    push(0xF0 | (code >> 18));
    push(0x80 | ((code >> 12) & 0x3F));
    push(0x80 | ((code >> 6) & 0x3F));
    push(0x80 | (code & 0x3F));
  }
}

std::string windows_1252_to_utf8(std::string_view text) {
  // 0x80..0x9F as the WHATWG Encoding Standard's index has them, but for the undefined ones.
  static constexpr char32_t high[32] = {0x20AC, 0xFFFD, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                        0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0xFFFD, 0x017D, 0xFFFD,
                                        0xFFFD, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                        0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0xFFFD, 0x017E, 0x0178};
  std::string out;
  out.reserve(text.size() + text.size() / 16);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    append_utf8(byte >= 0x80 && byte < 0xA0 ? high[byte - 0x80] : byte, out);
  }
  return out;
}

std::int64_t count_characters(std::string_view text) noexcept {
  std::int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

bool is_valid_utf8(std::string_view text) noexcept {
  std::size_t position = 0;
  while (position < text.size()) {
    const Utf8Step step = step_utf8(text, position);
    if (!step.valid) return false;
    position += step.length;
  }
  return true;
}

std::size_t character_boundary(std::string_view text, std::size_t limit) noexcept {
  if (limit >= text.size()) return text.size();
  std::size_t position = limit;
  for (int back = 0; back < 3 && position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80; ++back)
    --position;
  // Stray continuation bytes belong to no character: cut where asked.
  return (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80 ? limit : position;
}

bool is_space(char32_t code) noexcept {
  return code == ' ' || (code >= 0x09 && code <= 0x0D) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_word_character(char32_t code) noexcept {
  if (code < 0x80) return is_ascii_letter(code) || is_ascii_digit(code);
  return !contains(not_word, code);
}

bool is_letter(char32_t code) noexcept {
  if (code < 0x80) return is_ascii_letter(code);
  return !contains(not_word, code) && !contains(other_digits, code);
}

bool is_unspaced(char32_t code) noexcept { return code >= 0x3005 && contains(unspaced, code); }

char32_t to_lower(char32_t code) noexcept {
  if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
  if (code >= 0xC0 && code <= 0xDE) return code == 0xD7 ? code : code + 32;
  // Latin Extended-A and -B up to U+0137 and U+014A..0177, and Latin Extended Additional, alternate upper and lower.
  if ((code >= 0x100 && code <= 0x12F) || (code >= 0x132 && code <= 0x137) || (code >= 0x14A && code <= 0x177) ||
      (code >= 0x1E00 && code <= 0x1E95) || (code >= 0x1EA0 && code <= 0x1EFF) || (code >= 0x460 && code <= 0x481) ||
      (code >= 0x48A && code <= 0x4BF) || (code >= 0x4D0 && code <= 0x52F))
    return code | 1;
  if ((code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17E)) return code + (code & 1);
  if (code == 0x178) return 0xFF;
  if (code >= 0x391 && code <= 0x3A9 && code != 0x3A2) return code + 32;
  if (code == 0x386) return 0x3AC;
  if (code >= 0x388 && code <= 0x38A) return code + 37;
  if (code == 0x38C) return 0x3CC;
  if (code == 0x38E || code == 0x38F) return code + 63;
  if (code >= 0x410 && code <= 0x42F) return code + 32;
  if (code >= 0x400 && code <= 0x40F) return code + 80;
  if (code >= 0x531 && code <= 0x556) return code + 48;
  if (code >= 0xFF21 && code <= 0xFF3A) return code + 32;
  return code;
}

} // namespace conclave::datakit
