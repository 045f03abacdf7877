// The matchers behind splitter.hpp. Each follows its pattern's alternatives in their order, which is all that a
// backtracking engine does with them.

#include "splitter.hpp"

#include <algorithm>
#include <iterator>

namespace conclave::hf_bpe {
namespace {

using Text = const char*;

bool is_newline(char c) noexcept { return c == '\n' || c == '\r'; }

Text skip_newlines(Text text, Text end) noexcept {
  while (text < end && is_newline(*text)) ++text;
  return text;
}

/// 's 't 'm 'd 're 've 'll behind the apostrophe at `text`, or null. Ignoring case, ſ (U+017F) is an s, as in Unicode's
/// case folding; no other character beside ASCII folds to one of these letters.
template <bool ignore_case>
Text contraction(Text text, Text end) noexcept {
  const auto letter_at = [&](std::ptrdiff_t i) -> char {
    if (end - text <= i) return '\0';
    const char c = text[i];
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  };
  switch (letter_at(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd': return text + 2;
    case 'r':
    case 'v': return letter_at(2) == 'e' ? text + 3 : nullptr;
    case 'l': return letter_at(2) == 'l' ? text + 3 : nullptr;
    case '\xC5': return ignore_case && letter_at(2) == '\xBF' ? text + 3 : nullptr;
    default: return nullptr;
  }
}

/// \s+(?!\S)|\s+ and, where newlines_first, \s*[\r\n]+ before them. Precondition: a space stands at `text`.
template <bool newlines_first>
Text spaces(const UnicodeClasses& classes, Text text, Text end) noexcept {
  Text at = text, last = text, behind_newline = nullptr;
  while (at < end) {
    const Character c = classes.at(at, end);
    if (!(c.classes & space)) break;
    if (newlines_first && is_newline(*at)) behind_newline = at + 1;
    last = at;
    at += c.length;
  }
  if (behind_newline) return behind_newline;
  return at == end || last == text ? at : last; // the last space of several belongs to the word behind them
}

/// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
Text gpt2(const UnicodeClasses& classes, Text begin, Text end) {
  if (*begin == '\'')
    if (const Text behind = contraction<false>(begin, end)) return behind;
  const Text start = *begin == ' ' && begin + 1 < end ? begin + 1 : begin;
  const Character first = classes.at(start, end);
  const Text next = start + first.length;
  if (first.classes & letter) return classes.skip<letter>(next, end);
  if (first.classes & number) return classes.skip<number>(next, end);
  if (!(first.classes & space)) return classes.skip_not<space | letter | number>(next, end);
  return spaces<false>(classes, begin, end);
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,most_digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <int most_digits>
Text cl100k(const UnicodeClasses& classes, Text begin, Text end) {
  if (*begin == '\'')
    if (const Text behind = contraction<true>(begin, end)) return behind;
  const Character first = classes.at(begin, end);
  Text next = begin + first.length;
  if (first.classes & letter) return classes.skip<letter>(next, end);
  if (first.classes & number) {
    for (int digits = 1; digits < most_digits && next < end; ++digits) {
      const Character more = classes.at(next, end);
      if (!(more.classes & number)) break;
      next += more.length;
    }
    return next;
  }
  const bool is_space = first.classes & space;
  if (next < end && !is_newline(*begin)) {
    const Character second = classes.at(next, end);
    if (second.classes & letter) return classes.skip<letter>(next + second.length, end);
    if (*begin == ' ' && !(second.classes & (space | number)))
      return skip_newlines(classes.skip_not<space | letter | number>(next + second.length, end), end);
  }
  if (!is_space) return skip_newlines(classes.skip_not<space | letter | number>(next, end), end);
  return spaces<true>(classes, begin, end);
}

/// [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
/// A match at `begin`, or null: digits and controls are in none by themselves.
Text match_deepseek(const UnicodeClasses& classes, Text begin, Text end) {
  const auto is_ascii_letter = [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; };
  constexpr unsigned word = letter | mark, sign = punctuation | symbol;
  const Character first = classes.at(begin, end);
  const Text next = begin + first.length;
  if ((first.classes & sign) && first.code < 0x80 && next < end && is_ascii_letter(*next))
    return std::find_if_not(next, end, is_ascii_letter);
  if (first.classes & word) return classes.skip<word>(next, end);
  if (!(first.classes & sign) && !is_newline(*begin) && next < end) {
    const Character second = classes.at(next, end);
    if (second.classes & word) return classes.skip<word>(next + second.length, end);
    if (*begin == ' ' && (second.classes & sign))
      return skip_newlines(classes.skip<sign>(next + second.length, end), end);
  }
  if (first.classes & sign) return skip_newlines(classes.skip<sign>(next, end), end);
  if (first.classes & space) return spaces<true>(classes, begin, end);
  return nullptr;
}

Text deepseek(const UnicodeClasses& classes, Text begin, Text end) {
  if (const Text matched = match_deepseek(classes, begin, end)) return matched;
  do begin += classes.at(begin, end).length;
  while (begin < end && !match_deepseek(classes, begin, end));
  return begin;
}

/// \p{N}{1,3}
Text three_numbers(const UnicodeClasses& classes, Text begin, Text end) {
  Text at = begin;
  for (int digits = 0; digits < 3 && at < end; ++digits) {
    const Character c = classes.at(at, end);
    if (!(c.classes & number)) break;
    at += c.length;
  }
  return at != begin ? at : classes.skip_not<number>(at, end);
}

/// [一-龥぀-ゟ゠-ヿ]+: ideographs of the first Unicode, hiragana and katakana; all are of three bytes.
Text ideographs(const UnicodeClasses&, Text begin, Text end) {
  const auto is_one = [end](Text text) {
    const auto byte = static_cast<unsigned char>(*text);
    if (byte < 0xE3 || byte > 0xE9) return false;
    const auto step = datakit::step_utf8({text, static_cast<std::size_t>(end - text)}, 0);
    return step.valid && ((step.code >= 0x4E00 && step.code <= 0x9FA5) || (step.code >= 0x3040 && step.code <= 0x30FF));
  };
  const bool match = is_one(begin);
  Text at = begin;
  do
    at += match ? 3
                : 1; // outside a match any byte may be stepped over: none of a longer character looks like a first one
  while (at < end && is_one(at) == match);
  return at;
}

template <bool individual>
Text digits(const UnicodeClasses& classes, Text begin, Text end) {
  const Character first = classes.at(begin, end);
  const Text next = begin + first.length;
  if (!(first.classes & digit)) return classes.skip_not<digit>(next, end);
  return individual ? next : classes.skip<digit>(next, end);
}

#define CL100K_BEGIN R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
#define CL100K_END R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"
constexpr KnownPattern patterns[] = {
    {"gpt2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", gpt2, true},
    {"llama3", CL100K_BEGIN "{1,3}" CL100K_END, cl100k<3>, true},
    {"qwen2", CL100K_BEGIN CL100K_END, cl100k<1>, true},
    {"deepseek3 numbers", R"(\p{N}{1,3})", three_numbers, false},
    {"deepseek3 ideographs", "[一-龥぀-ゟ゠-ヿ]+", ideographs, false},
    {"deepseek3",
     R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)"
     R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
     deepseek, false},
};
#undef CL100K_BEGIN
#undef CL100K_END

} // namespace

std::span<const KnownPattern> known_patterns() noexcept { return patterns; }

const KnownPattern* find_pattern(std::string_view regex) noexcept {
  const auto* found = std::ranges::find(patterns, regex, &KnownPattern::regex);
  return found == std::end(patterns) ? nullptr : found;
}

SplitStep gpt2_step() noexcept { return gpt2; }
SplitStep digits_step(bool individual) noexcept { return individual ? digits<true> : digits<false>; }

} // namespace conclave::hf_bpe
