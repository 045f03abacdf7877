// Repetition within one text: see repetition.hpp.

#include "repetition.hpp"

#include <algorithm>
#include <bit>

namespace conclave::quality {
namespace {

/// Hash of n consecutive hashes, order-sensitive. Multiply-and-add over the odd constant of Knuth's multiplicative hash,
/// finished by a shift-xor; the inputs are good 64-bit hashes already.
std::uint64_t combine(const RepetitionMeter::Segment* words, std::size_t n) {
  std::uint64_t hash = n;
  for (std::size_t i = 0; i < n; ++i) {
    hash = (hash + words[i].hash) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

std::int64_t total_characters(const std::vector<RepetitionMeter::Segment>& segments) {
  std::int64_t total = 0;
  for (const auto& segment : segments) total += segment.characters;
  return total;
}

double share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

} // namespace

void HashCounter::reset(std::size_t expected) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(expected * 2, 16));
  slots_.assign(size, {});
  mask_ = size - 1;
}

HashCounter::Slot& HashCounter::at(std::uint64_t key) {
  std::size_t index = key & mask_;
  while (slots_[index].count != 0 && slots_[index].key != key) index = (index + 1) & mask_;
  slots_[index].key = key;
  return slots_[index];
}

SegmentRepetition RepetitionMeter::segments(const std::vector<Segment>& segments) {
  counter_.reset(segments.size());
  std::int64_t repeated = 0, characters = 0;
  for (const Segment& segment : segments) {
    if (counter_.at(segment.hash).count++ == 0) continue;
    ++repeated;
    characters += segment.characters;
  }
  return {share(repeated, static_cast<std::int64_t>(segments.size())), share(characters, total_characters(segments))};
}

double RepetitionMeter::top_ngram(const std::vector<Segment>& words, std::size_t n) {
  if (words.size() < n) return 0;
  const std::size_t positions = words.size() - n + 1;
  counter_.reset(positions);
  ngrams_.resize(positions);
  std::uint32_t most = 0;
  for (std::size_t i = 0; i < positions; ++i) {
    ngrams_[i] = combine(&words[i], n);
    most = std::max(most, ++counter_.at(ngrams_[i]).count);
  }
  if (most < 2) return 0;
  // `last` now gathers the characters that each of the most frequent n-grams covers; `ends` where its last copy ended.
  std::int64_t best = 0;
  HashCounter ends;
  ends.reset(positions / most + 1);
  for (std::size_t i = 0; i < positions; ++i) {
    HashCounter::Slot& slot = counter_.at(ngrams_[i]);
    if (slot.count != most) continue;
    HashCounter::Slot& end = ends.at(ngrams_[i]);
    end.count = 1;
    for (std::size_t w = std::max<std::size_t>(i, end.last); w < i + n; ++w)
      slot.last += static_cast<std::uint32_t>(words[w].characters);
    end.last = static_cast<std::uint32_t>(i + n);
    best = std::max<std::int64_t>(best, slot.last);
  }
  return share(best, total_characters(words));
}

double RepetitionMeter::repeated_ngrams(const std::vector<Segment>& words, std::size_t n) {
  if (words.size() < n) return 0;
  const std::size_t positions = words.size() - n + 1;
  counter_.reset(positions);
  std::int64_t covered = 0;
  std::size_t end = 0; // words before it are counted
  for (std::size_t i = 0; i < positions; ++i) {
    if (counter_.at(combine(&words[i], n)).count++ == 0) continue;
    for (std::size_t w = std::max(i, end); w < i + n; ++w) covered += words[w].characters;
    end = i + n;
  }
  return share(covered, total_characters(words));
}

} // namespace conclave::quality
