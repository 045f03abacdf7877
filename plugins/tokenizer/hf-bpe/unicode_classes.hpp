// Classes of code points, as the regular expressions of pre-tokenisers name them.
//
// What this is: the tables that Hugging Face's tokenizers uses (unicode_ranges.inc says how they were made), for ids depend
// on them. What this is not: the classes of conclave/datakit/utf8.hpp, which are for counting words.
//
// Threading: immutable once made; the first call makes them (60 us).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "conclave/datakit/utf8.hpp"

namespace conclave::hf_bpe {

/// Bits: a code point is in several at most where one is `digit`.
enum Class : std::uint8_t {
  letter = 1,      ///< \p{L}
  mark = 2,        ///< \p{M}
  number = 4,      ///< \p{N}
  punctuation = 8, ///< \p{P}
  symbol = 16,     ///< \p{S}
  space = 32,      ///< \s
  digit = 64,      ///< what the pre-tokeniser `Digits` takes for one: \p{N} of a later Unicode
};

struct Character {
  char32_t code;
  std::uint8_t classes;
  std::uint8_t length; ///< bytes
};

class UnicodeClasses {
 public:
  static const UnicodeClasses& get();

  [[nodiscard]] std::uint8_t of(char32_t code) const noexcept { return blocks_[index_[code >> 7]][code & 127]; }
  /// The character at `text`. Bytes that are no UTF-8 are a character of no class. Precondition: text < end.
  [[nodiscard]] Character at(const char* text, const char* end) const noexcept {
    const auto first = static_cast<unsigned char>(*text);
    if (first < 0x80) return {first, ascii_[first], 1};
    const auto step = datakit::step_utf8({text, static_cast<std::size_t>(end - text)}, 0);
    return {step.code, step.valid ? of(step.code) : std::uint8_t{0}, static_cast<std::uint8_t>(step.length)};
  }
  /// The end of the characters from `text` on that have one of these classes.
  template <unsigned classes>
  [[nodiscard]] const char* skip(const char* text, const char* end) const noexcept {
    while (text < end) {
      const Character c = at(text, end);
      if (!(c.classes & classes)) break;
      text += c.length;
    }
    return text;
  }
  /// The same for characters that have none of them.
  template <unsigned classes>
  [[nodiscard]] const char* skip_not(const char* text, const char* end) const noexcept {
    while (text < end) {
      const Character c = at(text, end);
      if (c.classes & classes) break;
      text += c.length;
    }
    return text;
  }

 private:
  UnicodeClasses();
  using Block = std::array<std::uint8_t, 128>;
  Block ascii_{};
  std::array<std::uint16_t, (0x110000 >> 7)> index_{};
  std::vector<Block> blocks_; ///< equal ones are kept once
};

} // namespace conclave::hf_bpe
