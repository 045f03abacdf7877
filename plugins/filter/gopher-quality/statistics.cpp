// Statistics of one text: see statistics.hpp.

#include "statistics.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "conclave/datakit/utf8.hpp"

namespace conclave::quality {
namespace {

constexpr std::string_view stop_words[] = {"the", "be", "to", "of", "and", "that", "have", "with"};
constexpr std::string_view ellipsis = "\xE2\x80\xA6"; // one character, U+2026
constexpr std::string_view bullets[] = {
    "\xE2\x80\xA2", "\xE2\x80\xA3", "\xE2\x97\xA6", "\xE2\x96\xAA", "\xE2\x97\x8F", "* ", "- "};

double ratio(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::uint64_t hash(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

std::int64_t count(std::string_view text, std::string_view what) {
  std::int64_t found = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++found;
  return found;
}

std::string_view trimmed(std::string_view line) {
  constexpr std::string_view blanks = " \t\r\v\f";
  const std::size_t first = line.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(blanks) - first + 1);
}

} // namespace

void StatisticsMeter::scan_words(std::string_view text, Statistics& out) {
  std::int64_t characters = 0, in_word = 0, with_letter = 0;
  bool letter = false;
  const auto flush = [&] {
    if (in_word == 0) return;
    ++out.words;
    characters += in_word;
    with_letter += letter;
    in_word = 0;
    letter = false;
  };
  for (std::size_t position = 0; position < text.size();) {
    const char32_t code = datakit::decode(text, position);
    if (datakit::is_space(code)) {
      flush();
      continue;
    }
    ++in_word;
    letter = letter || datakit::is_letter(code);
  }
  flush();
  out.mean_word_length = ratio(characters, out.words);
  out.words_with_letter = ratio(with_letter, out.words);
  out.hashes_per_word = ratio(static_cast<std::int64_t>(std::ranges::count(text, '#')), out.words);
  out.ellipses_per_word = ratio(count(text, "...") + count(text, ellipsis), out.words);

  words_.clear();
  unsigned seen = 0;
  datakit::for_each_word(text, scratch_, [&](std::string_view word) {
    words_.push_back({hash(word), datakit::count_characters(word)});
    if (word.size() > 4) return;
    for (std::size_t i = 0; i < std::size(stop_words); ++i)
      if (word == stop_words[i]) seen |= 1u << i;
  });
  out.stop_words = __builtin_popcount(seen);
}

void StatisticsMeter::scan_lines(std::string_view text, Statistics& out) {
  segments_.clear();
  paragraphs_.clear();
  std::int64_t bulleted = 0, trailing = 0;
  std::uint64_t paragraph_hash = 0;
  std::int64_t paragraph_characters = 0;
  const auto close_paragraph = [&] {
    if (paragraph_characters > 0) paragraphs_.push_back({paragraph_hash, paragraph_characters});
    paragraph_hash = 0;
    paragraph_characters = 0;
  };
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    if (line.empty()) {
      close_paragraph();
      continue;
    }
    const RepetitionMeter::Segment segment{hash(line), datakit::count_characters(line)};
    segments_.push_back(segment);
    paragraph_hash = (paragraph_hash ^ segment.hash) * 0x9E3779B97F4A7C15u + 1;
    paragraph_characters += segment.characters;
    bulleted += std::ranges::any_of(bullets, [&](std::string_view bullet) { return line.starts_with(bullet); });
    trailing += line.ends_with("...") || line.ends_with(ellipsis);
  }
  close_paragraph();
  const auto lines = static_cast<std::int64_t>(segments_.size());
  out.bullet_lines = ratio(bulleted, lines);
  out.ellipsis_lines = ratio(trailing, lines);
}

Statistics StatisticsMeter::operator()(std::string_view text) {
  Statistics out;
  scan_words(text, out);
  scan_lines(text, out);
  const SegmentRepetition lines = repetition_.segments(segments_), paragraphs = repetition_.segments(paragraphs_);
  out.repeated_lines = lines.items;
  out.repeated_line_characters = lines.characters;
  out.repeated_paragraphs = paragraphs.items;
  out.repeated_paragraph_characters = paragraphs.characters;
  for (std::size_t i = 0; i < out.top_ngrams.size(); ++i)
    out.top_ngrams[i] = repetition_.top_ngram(words_, top_ngram_sizes[i]);
  for (std::size_t i = 0; i < out.repeated_ngrams.size(); ++i)
    out.repeated_ngrams[i] = repetition_.repeated_ngrams(words_, repeated_ngram_sizes[i]);
  return out;
}

} // namespace conclave::quality
