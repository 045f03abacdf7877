// Repetition within one text: see repetition.hpp.
//
// Runs are found by length: a run of n words repeats only if both runs of n - 1 words in it do, and is named by their two
// groups. What does not repeat is out of the way early, so all nine lengths together cost little more than the words.

#include "repetition.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "conclave/datakit/share.hpp"
#include "conclave/datakit/utf8.hpp"

namespace conclave::repetition {
namespace {

template <class Visit>
void for_each_paragraph(std::string_view text, Visit&& visit) {
  text = datakit::trimmed(text);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find("\n\n"), text.size());
    visit(text.substr(0, end));
    text.remove_prefix(std::min(text.find_first_not_of('\n', end), text.size()));
  }
}

} // namespace

Repetition RepetitionMeter::operator()(std::string_view text) {
  Repetition out;
  const auto whole = static_cast<std::uint64_t>(datakit::count_characters(text));

  datakit::Copies lines(groups_);
  datakit::for_each_line(text, [&](std::string_view line) {
    if (!line.empty()) lines.add(line);
  });
  if (text.starts_with('\n')) lines.add({});
  if (text.ends_with('\n')) lines.add({});
  out.lines = datakit::share(lines.copies(), lines.pieces());
  out.line_characters = datakit::share(lines.characters(), whole);

  datakit::Copies paragraphs(groups_);
  for_each_paragraph(text, [&](std::string_view paragraph) { paragraphs.add(paragraph); });
  out.paragraphs = datakit::share(paragraphs.copies(), paragraphs.pieces());
  out.paragraph_characters = datakit::share(paragraphs.characters(), whole);

  find_repeated_words(cut_(text));
  std::size_t n = 1;
  for (std::size_t i = 0; i < out.top.size(); ++i) {
    for (; n < top_ngram_sizes[i]; ++n) lengthen();
    out.top[i] = datakit::share(top(n), whole);
  }
  for (std::size_t i = 0; i < out.repeated.size(); ++i) {
    for (; n < repeated_ngram_sizes[i]; ++n) lengthen();
    out.repeated[i] = datakit::share(repeated(n), whole);
  }
  return out;
}

void RepetitionMeter::find_repeated_words(std::span<const datakit::Word> words) {
  groups_.reset();
  places_.resize(words.size());
  ends_.resize(words.size() + 1);
  ends_[0] = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i].text;
    places_[i] = {static_cast<std::uint32_t>(i), groups_.add(XXH3_64bits(word.data(), word.size()))};
    ends_[i + 1] = ends_[i] + words[i].characters;
  }
  keep_repeated();
}

/// From runs of n words to runs of n + 1.
void RepetitionMeter::lengthen() {
  groups_.reset();
  std::size_t out = 0;
  for (std::size_t i = 0; i + 1 < places_.size(); ++i) {
    const Place here = places_[i], next = places_[i + 1];
    if (next.position != here.position + 1) continue;
    places_[out++] = {here.position, groups_.add(std::uint64_t{here.group} << 32 | next.group)};
  }
  places_.resize(out);
  keep_repeated();
}

void RepetitionMeter::keep_repeated() {
  std::erase_if(places_, [this](const Place& place) { return groups_.count(place.group) < 2; });
}

/// Characters of all copies of the most frequent run of n words.
std::uint64_t RepetitionMeter::top(std::size_t n) const {
  if (ends_.size() <= n) return 0;
  std::size_t first = 0;
  std::uint32_t most = 1;
  for (const Place& place : places_) {
    if (groups_.count(place.group) <= most) continue;
    most = groups_.count(place.group);
    first = place.position;
  }
  return most * (characters(first, n) + n - 1);
}

/// Characters of runs of n words that came before.
std::uint64_t RepetitionMeter::repeated(std::size_t n) {
  seen_.assign(groups_.size(), 0);
  std::uint64_t sum = 0;
  std::size_t next = 0; // words before it are done
  for (const Place& place : places_) {
    if (place.position < next) continue;
    if (seen_[place.group] == 0) {
      seen_[place.group] = 1;
      continue;
    }
    sum += characters(place.position, n);
    next = place.position + n;
  }
  return sum;
}

} // namespace conclave::repetition
