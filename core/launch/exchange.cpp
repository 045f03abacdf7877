// Gather, broadcast, and what is made of the two. Rank 0 is asked by all, so that a world of n ranks costs n requests.

#include "launch/exchange.hpp"

#include <algorithm>

#include "io/digest.hpp"
#include "launch/ranks.hpp"

namespace conclave {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Texts as one: each with its length in front.
std::string pack(const std::vector<std::string>& texts) {
  std::string packed;
  for (const std::string& text : texts) packed += std::to_string(text.size()) + ":" + text;
  return packed;
}

std::vector<std::string> unpack(const std::string& packed) {
  std::vector<std::string> texts;
  for (std::size_t at = 0; at < packed.size();) {
    const std::size_t colon = packed.find(':', at);
    const std::size_t size = std::stoull(packed.substr(at, colon - at));
    texts.push_back(packed.substr(colon + 1, size));
    at = colon + 1 + size;
  }
  return texts;
}

Error lost(std::string what) { return {Code::peer_lost, "", std::move(what), {}}; }

} // namespace

Exchange::Exchange(std::unique_ptr<Store> store, Settings settings)
    : store_(std::move(store)), settings_(std::move(settings)) {}

std::string Exchange::next(const std::string& key) { return key + "/" + std::to_string(calls_[key]++); }

Result<std::vector<std::string>> Exchange::wait(const std::vector<std::string>& keys, milliseconds timeout) {
  const bool limited = timeout.count() > 0;
  const Clock::time_point begin = Clock::now(), deadline = begin + timeout;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    const milliseconds slice = limited ? std::clamp(left, milliseconds(1), milliseconds(1000)) : milliseconds(1000);
    CONCLAVE_ASSIGN(const bool there,
                    store_->wait(keys, slice, std::chrono::duration_cast<milliseconds>(Clock::now() - begin)));
    if (there) return std::vector<std::string>{};
    if (settings_.interrupted)
      if (auto error = settings_.interrupted()) return *std::move(error);
    if (limited && Clock::now() >= deadline) break;
  }
  std::vector<std::string> missing;
  for (const std::string& key : keys) {
    CONCLAVE_ASSIGN(const auto value, store_->find(key));
    if (!value) missing.push_back(key);
  }
  return missing;
}

Result<std::vector<std::string>> Exchange::gather(const std::string& key, const std::string& text) {
  const std::string place = next(key) + "/";
  if (settings_.rank != 0) {
    CONCLAVE_RETURN_IF_ERROR(store_->set(place + std::to_string(settings_.rank), text));
    return std::vector<std::string>{};
  }
  std::vector<std::string> keys;
  for (int rank = 1; rank < settings_.size; ++rank) keys.push_back(place + std::to_string(rank));
  if (keys.empty()) return std::vector<std::string>{text};
  CONCLAVE_ASSIGN(const std::vector<std::string> missing, wait(keys, settings_.timeout));
  if (!missing.empty()) {
    std::vector<int> ranks;
    for (const std::string& one : missing) ranks.push_back(std::stoi(one.substr(place.size())));
    return lost(rank_list(ranks) + " of " + std::to_string(settings_.size) + " did not come to '" + key + "' within " +
                seconds_text(settings_.timeout));
  }
  CONCLAVE_ASSIGN(std::vector<std::string> texts, store_->get(keys));
  for (const std::string& one : keys) CONCLAVE_RETURN_IF_ERROR(store_->remove(one));
  texts.insert(texts.begin(), text);
  return texts;
}

Result<std::string> Exchange::broadcast(const std::string& key, const std::string& text) {
  const std::string place = next(key);
  if (settings_.size == 1) return text;
  if (settings_.rank == 0) {
    CONCLAVE_RETURN_IF_ERROR(store_->set(place, text));
    return text;
  }
  // Whoever came just before rank 0 must still be there when it says whom it has waited for.
  const milliseconds patience = 2 * settings_.timeout;
  CONCLAVE_ASSIGN(const std::vector<std::string> missing, wait({place}, patience));
  if (!missing.empty()) return lost("rank 0 did not come to '" + key + "' within " + seconds_text(patience));
  CONCLAVE_ASSIGN(std::vector<std::string> values, store_->get({place}));
  CONCLAVE_ASSIGN(const std::int64_t readers, store_->add(place + "/readers", 1));
  if (readers == settings_.size - 1) { // the last one: nobody needs it any more
    CONCLAVE_RETURN_IF_ERROR(store_->remove(place));
    CONCLAVE_RETURN_IF_ERROR(store_->remove(place + "/readers"));
  }
  return std::move(values.front());
}

Result<std::vector<std::string>> Exchange::exchange(const std::string& key, const std::string& text) {
  const auto gathered = gather(key + "/in", text);
  if (!gathered.ok() && settings_.rank != 0) return gathered;
  // Rank 0 tells the others too when it misses some of them.
  const std::string all = gathered.ok() ? "+" + pack(*gathered) : "-" + gathered.error().what;
  CONCLAVE_ASSIGN(const std::string told, broadcast(key + "/out", all));
  if (!gathered.ok()) return gathered;
  if (told.starts_with('-')) return lost(told.substr(1));
  return unpack(told.substr(1));
}

Status Exchange::barrier(const std::string& key) { return exchange(key, {}).status(); }

Status Exchange::agree(const std::string& what, const std::string& text) {
  CONCLAVE_ASSIGN(const std::vector<std::string> digests, exchange("agree/" + what, Digest().text(text).hex()));
  std::map<std::string, std::vector<int>> camps;
  for (std::size_t rank = 0; rank < digests.size(); ++rank) camps[digests[rank]].push_back(static_cast<int>(rank));
  if (camps.size() == 1) return {};
  std::vector<std::pair<std::string, std::vector<int>>> sorted(camps.begin(), camps.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second.size() != b.second.size() ? a.second.size() > b.second.size() : a.second < b.second;
  });
  std::string camps_text;
  for (const auto& [hash, ranks] : sorted)
    camps_text += (camps_text.empty() ? "" : "; ") + hash.substr(0, 8) + " on " + rank_list(ranks);
  return unsupported("the ranks do not have the same " + what + ": " + camps_text,
                     "start every rank with the same " + what);
}

} // namespace conclave
