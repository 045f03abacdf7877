// Statistics of one text: see statistics.hpp.

#include "statistics.hpp"

#include <algorithm>

#include "conclave/datakit/by_language.hpp"
#include "conclave/datakit/share.hpp"

namespace conclave::quality {
namespace {

constexpr std::string_view ellipsis = "…";
constexpr std::string_view bullets[] = {"•", "‣", "◦", "▪", "●", "* ", "-"};

std::int64_t count(std::string_view text, std::string_view what) {
  std::int64_t found = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + what.size())) ++found;
  return found;
}

} // namespace

StatisticsMeter::StatisticsMeter(const StopWords& stop_words) : words_(stop_words) {
  for (const auto& [language, words] : words_) {
    List& list = lists_[datakit::language_key(language)];
    for (const std::string& word : words) {
      if (word.empty()) continue;
      list.numbers.emplace(word, list.numbers.size());
      list.longest = std::max(list.longest, word.size());
      list.first_bytes[static_cast<unsigned char>(word.front())] = true;
    }
  }
}

Statistics StatisticsMeter::operator()(std::string_view text, std::string_view language) {
  Statistics out;
  const auto words = cut_(text);
  std::int64_t characters = 0, with_letter = 0;
  for (const datakit::Word& word : words) {
    out.words += !word.mark;
    characters += word.mark ? 0 : word.characters;
    with_letter += word.letter;
  }
  const auto all = static_cast<std::int64_t>(words.size());
  out.mean_word_length = datakit::share(characters, out.words);
  out.words_with_letter = datakit::share(with_letter, all);
  out.hashes_per_word = datakit::share(static_cast<std::int64_t>(std::ranges::count(text, '#')), all);
  out.ellipses_per_word = datakit::share(count(text, "...") + count(text, ellipsis), all);
  out.stop_words = count_stop_words(words, language);

  std::int64_t lines = 0, bulleted = 0, trailing = 0;
  datakit::for_each_line(text, [&](std::string_view whole) {
    ++lines;
    const std::string_view line = datakit::trimmed(whole);
    bulleted += std::ranges::any_of(bullets, [&](std::string_view bullet) { return line.starts_with(bullet); });
    trailing += line.ends_with("...") || line.ends_with(ellipsis);
  });
  out.bullet_lines = datakit::share(bulleted, lines);
  out.ellipsis_lines = datakit::share(trailing, lines);
  return out;
}

std::int64_t StatisticsMeter::count_stop_words(std::span<const datakit::Word> words, std::string_view language) {
  const auto found = lists_.find(datakit::language_key(language));
  if (found == lists_.end()) return -1;
  const List& list = found->second;
  seen_.assign(list.numbers.size(), 0);
  std::int64_t different = 0;
  for (const datakit::Word& word : words) {
    if (word.text.size() > list.longest || !list.first_bytes[static_cast<unsigned char>(word.text.front())]) continue;
    const auto number = list.numbers.find(word.text);
    if (number == list.numbers.end() || seen_[number->second] != 0) continue;
    seen_[number->second] = 1;
    ++different;
  }
  return different;
}

} // namespace conclave::quality
