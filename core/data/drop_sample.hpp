// DropSample: a few of the documents that a rule dropped, to be looked at: those with the smallest mixed hash of their text,
// so the choice depends on the texts alone, and not on the order in which they are offered.
//
// Threading: a value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace conclave::data {

class DropSample {
 public:
  static constexpr std::size_t most = 5;

  /// `hash`: hash_text() of the document's text.
  void offer(std::uint64_t hash, std::uint64_t document) {
    add({hash * 0x9e3779b97f4a7c15ull, document}); // the held-out split takes small hashes, too
  }
  void merge(const DropSample& other) {
    for (const auto& each : other.least_) add(each);
  }
  /// Ordinals in the domain.
  [[nodiscard]] std::vector<std::uint64_t> documents() const {
    std::vector<std::uint64_t> all;
    for (const auto& [hash, document] : least_) all.push_back(document);
    return all;
  }

 private:
  using Entry = std::pair<std::uint64_t, std::uint64_t>;
  void add(const Entry& entry) {
    if (least_.size() == most && entry >= least_.back()) return;
    least_.insert(std::upper_bound(least_.begin(), least_.end(), entry), entry);
    if (least_.size() > most) least_.pop_back();
  }
  std::vector<Entry> least_; ///< ascending
};

/// By reason.
using DropSamples = std::map<std::string, DropSample>;

} // namespace conclave::data
