// Training: see trainer.hpp.

#include "trainer.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <tuple>
#include <unordered_map>

#include "byte_alphabet.hpp"
#include "families.hpp"
#include "nfc.hpp"
#include "tokenizer_json.hpp"

namespace conclave::hf_bpe {
namespace {

using Pieces = StringMap<std::int64_t>; ///< and how often each occurs

struct Word {
  std::vector<std::int32_t> ids;
  std::int64_t count = 0;
};

std::uint64_t pair_key(std::int32_t left, std::int32_t right) noexcept {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

/// A pair that may become a token, and the words that it was seen in since it was last offered. Its count may be out of
/// date: it is compared with the true one when its turn comes.
struct Offer {
  std::int64_t count;
  std::uint64_t pair;
  std::uint64_t number; ///< of the offer: of two of one pair the earlier is taken first
  std::vector<std::uint32_t> words;
  bool operator<(const Offer& other) const noexcept { // the greatest is taken first
    return std::tuple(count, other.pair, other.number) < std::tuple(other.count, pair, number);
  }
};

class Trainer {
 public:
  Trainer(std::vector<std::string> tokens, const std::array<std::int32_t, 256>& bytes, const Pieces& pieces)
      : model_{std::move(tokens), {}} {
    for (std::size_t id = 0; id < model_.tokens.size(); ++id)
      known_.emplace(model_.tokens[id], static_cast<std::int32_t>(id));
    std::vector<const Pieces::value_type*> sorted; // so that the order of a hash table decides nothing
    for (const auto& piece : pieces) sorted.push_back(&piece);
    std::ranges::sort(sorted, {}, [](const auto* piece) -> const std::string& { return piece->first; });
    words_.reserve(pieces.size());
    for (const auto* piece : sorted) {
      const std::int64_t count = piece->second;
      Word word{{}, count};
      for (const char c : piece->first) word.ids.push_back(bytes[static_cast<unsigned char>(c)]);
      const auto at = static_cast<std::uint32_t>(words_.size());
      for (std::size_t i = 0; i + 1 < word.ids.size(); ++i) change(pair_key(word.ids[i], word.ids[i + 1]), count, at);
      words_.push_back(std::move(word));
    }
    offer_seen();
  }

  /// Adds tokens until there are `size` of them, no pair occurs min_frequency times, or a stop is asked for.
  void run(std::size_t size, std::int64_t min_frequency, const std::stop_token& stop) {
    while (model_.tokens.size() < size && !offers_.empty() && !stop.stop_requested()) {
      std::pop_heap(offers_.begin(), offers_.end());
      Offer best = std::move(offers_.back());
      offers_.pop_back();
      if (const std::int64_t count = counts_[best.pair]; best.count != count) {
        best.count = count;
        offer(std::move(best));
        continue;
      }
      if (best.count < std::max<std::int64_t>(min_frequency, 1)) break;
      const auto left = static_cast<std::int32_t>(best.pair >> 32), right = static_cast<std::int32_t>(best.pair);
      const std::int32_t result = token(left, right);
      model_.merges.emplace_back(left, right);
      for (const std::uint32_t word : best.words) merge(word, left, right, result);
      offer_seen();
    }
  }

  /// Two ways may lead to one token, so that a pair comes up twice; the later of its merges counts.
  TrainedModel take() {
    std::unordered_map<std::uint64_t, std::size_t> last;
    for (std::size_t i = 0; i < model_.merges.size(); ++i)
      last[pair_key(model_.merges[i].first, model_.merges[i].second)] = i;
    std::size_t i = 0;
    std::erase_if(model_.merges, [&](const auto& merge) { return last[pair_key(merge.first, merge.second)] != i++; });
    return std::move(model_);
  }

 private:
  std::int32_t token(std::int32_t left, std::int32_t right) {
    std::string text = model_.tokens[static_cast<std::size_t>(left)] + model_.tokens[static_cast<std::size_t>(right)];
    const auto [found, added] = known_.emplace(text, static_cast<std::int32_t>(model_.tokens.size()));
    if (added) model_.tokens.push_back(std::move(text));
    return found->second;
  }

  void change(std::uint64_t pair, std::int64_t by, std::uint32_t word) {
    counts_[pair] += by;
    if (by <= 0) return;
    const auto [place, added] = place_in_seen_.emplace(pair, seen_.size());
    if (added) seen_.emplace_back(pair, std::vector<std::uint32_t>());
    auto& words = seen_[place->second].second;
    if (words.empty() || words.back() != word) words.push_back(word);
  }

  void merge(std::uint32_t at, std::int32_t left, std::int32_t right, std::int32_t result) {
    auto& [ids, count] = words_[at];
    std::size_t kept = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] != left || i + 1 == ids.size() || ids[i + 1] != right) {
        ids[kept++] = ids[i];
        continue;
      }
      if (kept > 0) {
        change(pair_key(ids[kept - 1], left), -count, at);
        change(pair_key(ids[kept - 1], result), count, at);
      }
      if (i + 2 < ids.size()) {
        change(pair_key(right, ids[i + 2]), -count, at);
        change(pair_key(result, ids[i + 2]), count, at);
      }
      ids[kept++] = result;
      ++i;
    }
    ids.resize(kept);
  }

  void offer(Offer&& one) {
    offers_.push_back(std::move(one));
    std::push_heap(offers_.begin(), offers_.end());
  }

  void offer_seen() {
    for (auto& [pair, words] : seen_)
      if (const std::int64_t count = counts_[pair]; count > 0) offer({count, pair, offered_++, std::move(words)});
    seen_.clear();
    place_in_seen_.clear();
  }

  TrainedModel model_;
  StringMap<std::int32_t> known_;
  std::vector<Word> words_;
  std::unordered_map<std::uint64_t, std::int64_t> counts_;
  std::vector<std::pair<std::uint64_t, std::vector<std::uint32_t>>> seen_; ///< pairs of words since the last offers
  std::unordered_map<std::uint64_t, std::size_t> place_in_seen_;
  std::vector<Offer> offers_; ///< a heap
  std::uint64_t offered_ = 0;
};

Pieces count_pieces(Family family, const std::function<bool(std::string& text)>& next, const std::stop_token& stop,
                    std::size_t& bytes) {
  const Splitter splitter = splitter_of(family);
  Pieces pieces;
  for (std::string text, scratch; !stop.stop_requested() && next(text);) {
    bytes += text.size();
    const std::string_view normal = is_normalized(family) ? to_nfc(text, scratch) : std::string_view(text);
    splitter.for_each(normal.data(), normal.data() + normal.size(), [&](const char* begin, const char* end) {
      const std::string_view piece(begin, static_cast<std::size_t>(end - begin));
      const auto found = pieces.find(piece);
      if (found != pieces.end())
        ++found->second;
      else
        pieces.emplace(piece, 1);
    });
  }
  return pieces;
}

} // namespace

Result<TrainedModel> train_model(const Options& options, const std::vector<std::string>& special,
                                 const std::function<bool(std::string& text)>& next, HostContext& host) {
  const auto start = std::chrono::steady_clock::now();
  const std::stop_token stop = host.stop_token();
  std::size_t bytes = 0;
  const auto pieces = count_pieces(options.family, next, stop, bytes);

  std::array<int, 256> order; // of the bytes in the vocabulary: that of the characters that stand for them
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [](int byte) { return byte_character(static_cast<unsigned char>(byte)); });
  std::vector<std::string> tokens = special;
  std::array<std::int32_t, 256> ids{};
  for (const int byte : order) {
    const char text = static_cast<char>(byte);
    ids[static_cast<std::size_t>(byte)] = static_cast<std::int32_t>(tokens.size());
    tokens.push_back(to_visible({&text, 1}));
  }

  const auto size = static_cast<std::size_t>(options.vocabulary.value);
  Trainer trainer(std::move(tokens), ids, pieces);
  trainer.run(size, options.min_frequency, stop);
  if (stop.stop_requested()) return Error{Code::stopped, {}, "the training of the tokenizer was stopped", {}};
  TrainedModel model = trainer.take();
  if (model.tokens.size() < size)
    return invalid(std::to_string(bytes) + " bytes of text give " + std::to_string(model.tokens.size()) +
                       " tokens of the " + std::to_string(size) + " that were asked for",
                   "lower `vocabulary` or `min_frequency`, or give more text (data.tokenizer_sample)");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  char text[160];
  std::snprintf(text, sizeof text, "trained %zu tokens on %.1f MB of text, %zu different pieces, in %.1f s", size,
                static_cast<double>(bytes) / 1e6, pieces.size(), seconds.count());
  host.log(LogLevel::info, text);
  return model;
}

} // namespace conclave::hf_bpe
