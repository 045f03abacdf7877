// Everything is read in ascending order, so what belongs together follows each other and the least comes first.

#include "data/clusters.hpp"

#include <algorithm>

#include "data/parallel.hpp"

namespace conclave::data {
namespace {

class PairMaker {
 public:
  PairMaker(const FindAlike& find_alike, ExternalSort& pairs) : find_alike_(find_alike), pairs_(pairs) {}

  Status add(const SortRecord& record) {
    ++counts.keys;
    const bool same_key = !values_.empty() && record.key == values_.back().key;
    if (same_key && record.value == values_.back().value) return pairs_.add({record.document, values_.back().document});
    if (!same_key) {
      values_.clear();
      in_runs_ = false;
    } else if (values_.size() == most_values) {
      values_.resize(1);
      if (!in_runs_) ++counts.large_groups;
      in_runs_ = true;
    }
    CONCLAVE_RETURN_IF_ERROR(compare(record));
    values_.push_back(record);
    return {};
  }

  PairCounts counts;

 private:
  Status compare(const SortRecord& record) {
    if (values_.empty()) return {};
    alike_.clear();
    CONCLAVE_RETURN_IF_ERROR(find_alike_(record, values_, alike_));
    for (const std::uint64_t document : alike_) {
      const auto [earlier, later] = std::minmax(record.document, document);
      if (earlier == later) continue; // two values of one document
      CONCLAVE_RETURN_IF_ERROR(pairs_.add({later, earlier}));
    }
    return {};
  }

  const FindAlike& find_alike_;
  ExternalSort& pairs_;
  std::vector<SortRecord> values_; ///< the different values of the present key, each with its first document
  bool in_runs_ = false;           ///< there are more than most_values of them
  std::vector<std::uint64_t> alike_;
};

/// Calls visit(record, first) for each record, where first is the first record with the same key.
template <class Visit>
Status for_each_neighbour(ExternalSort& sorted, const std::stop_token& stop, Visit visit) {
  SortRecord first;
  bool any = false;
  return sorted.drain([&](std::span<const SortRecord> records) -> Status {
    if (stop.stop_requested()) return stopped_error();
    for (const SortRecord& record : records) {
      if (!any || record.key != first.key) first = record;
      any = true;
      CONCLAVE_RETURN_IF_ERROR(visit(record, first));
    }
    return {};
  });
}

} // namespace

Result<PairCounts> pair_up(ExternalSort& keys, const FindAlike& find_alike, ExternalSort& pairs,
                           const std::stop_token& stop, const std::function<void(std::int64_t)>& progress) {
  PairMaker maker(find_alike, pairs);
  const Status drained = keys.drain([&](std::span<const SortRecord> records) -> Status {
    if (stop.stop_requested()) return stopped_error();
    for (const SortRecord& record : records) CONCLAVE_RETURN_IF_ERROR(maker.add(record));
    if (progress) progress(maker.counts.keys);
    return {};
  });
  CONCLAVE_RETURN_IF_ERROR(drained);
  return maker.counts;
}

Status contract(ExternalSort& pairs, ExternalSort& other, const std::stop_token& stop) {
  bool changed = true;
  // Every document sees all its neighbours.
  const auto both_ways = [&](const SortRecord& record, const SortRecord&) -> Status {
    CONCLAVE_RETURN_IF_ERROR(other.add({record.key, record.value}));
    return other.add({record.value, record.key});
  };
  // Later neighbours join the least of the document and its neighbours.
  const auto large_star = [&](const SortRecord& record, const SortRecord& first) -> Status {
    if (record.value < record.key) return {};
    const std::uint64_t least = std::min(record.key, first.value);
    changed |= least < record.key;
    return pairs.add({record.value, least});
  };
  // A document and its earlier neighbours join the least of them.
  const auto small_star = [&](const SortRecord& record, const SortRecord& first) -> Status {
    if (record == first) return other.add(first);
    changed = true;
    return other.add({record.value, first.value});
  };
  while (changed) {
    changed = false;
    CONCLAVE_RETURN_IF_ERROR(for_each_neighbour(pairs, stop, both_ways));
    CONCLAVE_RETURN_IF_ERROR(for_each_neighbour(other, stop, large_star));
    CONCLAVE_RETURN_IF_ERROR(for_each_neighbour(pairs, stop, small_star));
    std::swap(pairs, other);
  }
  return {};
}

} // namespace conclave::data
