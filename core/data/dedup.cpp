// Three sorts: keys bring documents together, pairs become clusters, clusters come back in the order of the documents.

#include "data/dedup.hpp"

#include <algorithm>
#include <limits>
#include <regex>

#include "data/clusters.hpp"
#include "data/parallel.hpp"
#include "io/digest.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::size_t dedup_chunk_documents = 2048;

const DedupFilter& instance(const FilterInstances& instances, int worker) {
  return static_cast<const DedupFilter&>(*instances[static_cast<std::size_t>(worker)]);
}

/// Keeps documents apart that must not meet: a number for each shard of a domain, mixed into the keys of its documents.
Result<std::vector<std::uint64_t>> numbers_of_shards(const FilterStage& filter, const DedupScope& scope,
                                                     const std::string& name, const ReadDomain& domain) {
  const std::uint64_t whole = scope.within == DedupScope::Within::corpus ? 0 : hash_text(name);
  std::vector<std::uint64_t> numbers(domain.shards.size(), whole);
  if (scope.within != DedupScope::Within::dump) return numbers;
  try {
    const std::regex dump(scope.dump);
    std::smatch match;
    for (std::size_t s = 0; s < numbers.size(); ++s)
      if (std::regex_search(domain.shards[s].id, match, dump)) numbers[s] = hash_text(name + "\n" + match.str());
  } catch (const std::regex_error& error) {
    return invalid("'" + scope.dump + "' is no regular expression: " + error.what(), {}, filter.id);
  }
  return numbers;
}

class Deduplication {
 public:
  Deduplication(const StageContext& context, const FilterStage& filter, const FilterInstances& instances,
                const std::vector<ReadDomain>& domains, const std::filesystem::path& scratch)
      : context_(context),
        filter_(filter),
        instances_(instances),
        domains_(domains),
        keys_(scratch, memory() / 2, context.workers),
        pairs_(scratch, memory() / 4, context.workers),
        other_(scratch, memory() / 4, context.workers) {
    std::uint64_t first = 0;
    for (const ReadDomain& domain : domains) {
      first_.push_back(first);
      first += domain.texts.size();
    }
  }

  Result<Duplicates> run(const std::vector<ColumnStore>& columns, const DocumentSet& alive) {
    const DedupFilter& dedup = instance(instances_, 0);
    CONCLAVE_ASSIGN(const std::string reason,
                    guard(filter_.id.c_str(), "reason", [&] { return std::string(dedup.reason()); }));
    CONCLAVE_ASSIGN(const DedupScope scope, guard(filter_.id.c_str(), "scope", [&] { return dedup.scope(); }));
    Duplicates duplicates{reason, DocumentSet(domains_.size()), {}};
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      duplicates.drop[d].resize(domains_[d].texts.size());
      if (filter_.sees(d)) CONCLAVE_RETURN_IF_ERROR(collect(d, scope, columns[d], alive[d]));
    }
    CONCLAVE_RETURN_IF_ERROR(join(dedup));
    CONCLAVE_RETURN_IF_ERROR(name_dropped(duplicates.drop));
    duplicates.summary = summary_;
    return duplicates;
  }

 private:
  [[nodiscard]] std::size_t memory() const { return static_cast<std::size_t>(context_.request->memory); }

  /// The keys of one domain's documents.
  Status collect(std::size_t d, const DedupScope& scope, const ColumnStore& columns, const std::vector<bool>& alive) {
    CONCLAVE_ASSIGN(const auto numbers,
                    numbers_of_shards(filter_, scope, context_.request->domains[d].name, domains_[d]));
    const std::vector<std::uint64_t>& ends = domains_[d].texts.shard_ends();
    const auto chunks = cut_into_chunks(alive.size(), dedup_chunk_documents, std::numeric_limits<std::uint64_t>::max(),
                                        [](std::size_t) { return 1; });
    return ordered_parallel<std::vector<SortRecord>>(
        context_.workers, static_cast<std::int64_t>(chunks.size()), context_.request->stop,
        [&](std::int64_t chunk, int worker) -> Result<std::vector<SortRecord>> {
          const auto [begin, end] = chunks[static_cast<std::size_t>(chunk)];
          std::vector<SortRecord> made;
          std::vector<DedupKey> keys;
          auto shard = static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin());
          const Status given = guard(filter_.id.c_str(), "keys", [&] {
            for (std::size_t i = begin; i < end; ++i) {
              while (i >= ends[shard]) ++shard;
              if (!alive[i]) continue;
              keys.clear();
              instance(instances_, worker).keys(StoredRow(columns, i), keys);
              for (const DedupKey& key : keys) made.push_back({key.key ^ numbers[shard], key.value, first_[d] + i});
            }
          });
          CONCLAVE_RETURN_IF_ERROR(given);
          return made;
        },
        [&](std::int64_t chunk, std::vector<SortRecord>&& made) -> Status {
          for (const SortRecord& record : made) CONCLAVE_RETURN_IF_ERROR(keys_.add(record));
          context_.progress("dedup", static_cast<std::int64_t>(chunks[static_cast<std::size_t>(chunk)].second),
                            static_cast<std::int64_t>(alive.size()), "documents");
          return {};
        });
  }

  Status join(const DedupFilter& dedup) {
    const auto added = static_cast<std::int64_t>(keys_.added());
    const FindAlike find_alike = [&](const SortRecord& value, std::span<const SortRecord> others,
                                     std::vector<std::uint64_t>& alike) {
      return guard(filter_.id.c_str(), "same", [&] {
        for (const SortRecord& other : others)
          if (dedup.same(value.value, other.value)) alike.push_back(other.document);
      });
    };
    CONCLAVE_ASSIGN(const PairCounts counts,
                    pair_up(keys_, find_alike, pairs_, context_.request->stop,
                            [&](std::int64_t keys) { context_.progress("dedup", keys, added, "keys"); }));
    summary_ = {filter_.name, counts.keys, counts.large_groups};
    return contract(pairs_, other_, context_.request->stop);
  }

  Status name_dropped(DocumentSet& drop) {
    std::size_t d = 0;
    return pairs_.drain([&](std::span<const SortRecord> records) -> Status {
      for (const SortRecord& record : records) {
        while (record.key - first_[d] >= drop[d].size()) ++d;
        drop[d][record.key - first_[d]] = true;
      }
      return {};
    });
  }

  const StageContext& context_;
  const FilterStage& filter_;
  const FilterInstances& instances_;
  const std::vector<ReadDomain>& domains_;
  std::vector<std::uint64_t> first_; ///< of each domain, in the order of documents over all domains
  ExternalSort keys_, pairs_, other_;
  DedupSummary summary_;
};

} // namespace

Result<Duplicates> find_duplicates(const StageContext& context, const FilterStage& filter,
                                   const FilterInstances& instances, const std::vector<ReadDomain>& domains,
                                   const std::vector<ColumnStore>& columns, const DocumentSet& alive,
                                   const std::filesystem::path& scratch) {
  return Deduplication(context, filter, instances, domains, scratch).run(columns, alive);
}

} // namespace conclave::data
