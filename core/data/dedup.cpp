// Pairs hold a document's position in one list over all domains; ordinals are looked up when a group is handed over.

#include "data/dedup.hpp"

#include <algorithm>
#include <iterator>
#include <limits>

#include "data/parallel.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::size_t dedup_chunk_documents = 8192;
constexpr std::size_t groups_between_stop_checks = 4096;

struct Pair {
  std::uint64_t key = 0, position = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 reads the 0 of a comparison category as a pointer
  friend auto operator<=>(const Pair&, const Pair&) = default;
};

struct Place {
  std::uint32_t domain;
  std::uint64_t ordinal;
};

const DedupFilter& instance(const FilterInstances& instances, int worker) {
  return static_cast<const DedupFilter&>(*instances[static_cast<std::size_t>(worker)]);
}

Result<std::vector<Pair>> collect(const StageContext& context, const FilterStage& filter,
                                  const FilterInstances& instances, const std::vector<ColumnStore>& columns,
                                  const std::vector<Place>& places, Range range) {
  std::vector<Pair> pairs;
  const auto chunks = cut_into_chunks(range.second - range.first, dedup_chunk_documents,
                                      std::numeric_limits<std::uint64_t>::max(), [](std::size_t) { return 1; });
  const Status done = ordered_parallel<std::vector<Pair>>(
      context.workers, static_cast<std::int64_t>(chunks.size()), context.request->stop,
      [&](std::int64_t chunk, int worker) -> Result<std::vector<Pair>> {
        const Range part = chunks[static_cast<std::size_t>(chunk)];
        std::vector<Pair> made;
        std::vector<std::uint64_t> keys;
        CONCLAVE_RETURN_IF_ERROR(guard(filter.id.c_str(), "keys", [&] {
          for (std::size_t i = range.first + part.first; i < range.first + part.second; ++i) {
            keys.clear();
            instance(instances, worker).keys(StoredRow(columns[places[i].domain], places[i].ordinal), keys);
            for (const std::uint64_t key : keys) made.push_back({key, i});
          }
        }));
        return made;
      },
      [&](std::int64_t, std::vector<Pair>&& made) -> Status {
        if (pairs.size() + made.size() > max_dedup_pairs)
          return unsupported("deduplication needs more than " + std::to_string(max_dedup_pairs) + " keys in memory",
                             "give the filter fewer keys a document, or prepare a smaller corpus", filter.id);
        pairs.insert(pairs.end(), made.begin(), made.end());
        return {};
      });
  CONCLAVE_RETURN_IF_ERROR(done);
  return pairs;
}

Status resolve_groups(const StageContext& context, const FilterStage& filter, const DedupFilter& dedup,
                      const std::vector<ColumnStore>& columns, const std::vector<Place>& places,
                      const std::vector<std::uint64_t>& first_of_domain, std::vector<Pair>& pairs,
                      std::vector<bool>& dropped) {
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end()); // a filter may give a key twice
  std::vector<StoredRow> rows;
  std::vector<DedupMember> group;
  std::vector<bool> drop;
  std::size_t groups = 0;
  for (std::size_t begin = 0, end = 0; begin < pairs.size(); begin = end) {
    end = begin + 1;
    while (end < pairs.size() && pairs[end].key == pairs[begin].key) ++end;
    if (end - begin < 2) continue;
    if (++groups % groups_between_stop_checks == 0) {
      if (context.request->stop.stop_requested()) return stopped_error();
      context.progress("dedup", static_cast<std::int64_t>(end), static_cast<std::int64_t>(pairs.size()), "keys");
    }
    rows.clear();
    group.clear();
    rows.reserve(end - begin); // members point into it
    for (std::size_t i = begin; i < end; ++i) {
      const Place place = places[pairs[i].position];
      rows.emplace_back(columns[place.domain], place.ordinal);
      group.push_back({first_of_domain[place.domain] + place.ordinal, place.domain, &rows.back()});
    }
    drop.assign(group.size(), false);
    CONCLAVE_RETURN_IF_ERROR(guard(filter.id.c_str(), "resolve", [&] { dedup.resolve(group, drop); }));
    if (drop.size() != group.size()) return internal_error("resolve() changed the size of its answer", filter.id);
    for (std::size_t i = begin; i < end; ++i)
      if (drop[i - begin]) dropped[pairs[i].position] = true;
  }
  return {};
}

} // namespace

Result<Duplicates> find_duplicates(const StageContext& context, const FilterStage& filter,
                                   const FilterInstances& instances, const std::vector<ColumnStore>& columns,
                                   const std::vector<std::vector<std::uint64_t>>& alive) {
  const DedupFilter& dedup = instance(instances, 0);
  const char* plugin = filter.id.c_str();
  Duplicates duplicates;
  CONCLAVE_ASSIGN(duplicates.reason, guard(plugin, "reason", [&] { return std::string(dedup.reason()); }));
  CONCLAVE_ASSIGN(const bool across, guard(plugin, "across_domains", [&] { return dedup.across_domains(); }));

  std::vector<Place> places;
  std::vector<Range> scopes; // documents that may meet
  std::vector<std::uint64_t> first_of_domain;
  std::uint64_t ordinals = 0;
  for (std::size_t d = 0; d < alive.size(); ++d) {
    const std::size_t begin = places.size();
    for (const std::uint64_t ordinal : alive[d]) places.push_back({static_cast<std::uint32_t>(d), ordinal});
    if (across && d > 0) {
      scopes.front().second = places.size();
    } else {
      scopes.emplace_back(begin, places.size());
    }
    first_of_domain.push_back(ordinals);
    ordinals += alive[d].empty() ? 0 : alive[d].back() + 1;
  }

  std::vector<bool> dropped(places.size());
  for (const Range& scope : scopes) {
    CONCLAVE_ASSIGN(std::vector<Pair> pairs, collect(context, filter, instances, columns, places, scope));
    CONCLAVE_RETURN_IF_ERROR(resolve_groups(context, filter, dedup, columns, places, first_of_domain, pairs, dropped));
  }
  std::size_t at = 0;
  for (const auto& domain : alive) {
    auto& drop = duplicates.drop.emplace_back(domain.size());
    for (std::size_t i = 0; i < domain.size(); ++i) drop[i] = dropped[at++];
  }
  return duplicates;
}

} // namespace conclave::data
