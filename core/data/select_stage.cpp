// select: each filter in the order of the experiment takes documents away; what is left is a list of ordinals per domain.

#include <algorithm>
#include <iterator>
#include <limits>

#include "data/dedup.hpp"
#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::size_t select_chunk_documents = 16384;

using Alive = std::vector<std::vector<std::uint64_t>>; // per domain, ascending

std::string kept_name(std::size_t domain) { return "kept-" + std::to_string(domain); }

struct ChunkResult {
  std::vector<std::uint64_t> kept;
  Tallies tallies;
};

Status select_by_row(const StageContext& context, const FilterStage& filter, const FilterInstances& instances,
                     const ReadDomain& domain, const ColumnStore& columns, std::vector<std::uint64_t>& alive,
                     Tallies& tallies) {
  std::vector<std::uint64_t> kept;
  const auto chunks = cut_into_chunks(alive.size(), select_chunk_documents, std::numeric_limits<std::uint64_t>::max(),
                                      [](std::size_t) { return 1; });
  const Status done = ordered_parallel<ChunkResult>(
      context.workers, static_cast<std::int64_t>(chunks.size()), context.request->stop,
      [&](std::int64_t chunk, int worker) -> Result<ChunkResult> {
        const Filter& instance = *instances[static_cast<std::size_t>(worker)];
        const Range part = chunks[static_cast<std::size_t>(chunk)];
        ChunkResult result;
        CONCLAVE_RETURN_IF_ERROR(guard(filter.id.c_str(), "select", [&] {
          for (std::size_t i = part.first; i < part.second; ++i) {
            const Verdict verdict = instance.select(StoredRow(columns, alive[i]));
            const auto bytes = static_cast<std::int64_t>(domain.texts.bytes(alive[i]));
            result.tallies[verdict.reason == nullptr ? "" : verdict.reason].add(bytes);
            if (verdict.reason == nullptr) result.kept.push_back(alive[i]);
          }
        }));
        return result;
      },
      [&](std::int64_t, ChunkResult&& result) -> Status {
        std::move(result.kept.begin(), result.kept.end(), std::back_inserter(kept));
        for (const auto& [reason, tally] : result.tallies) tallies[reason] += tally;
        return {};
      });
  CONCLAVE_RETURN_IF_ERROR(done);
  alive = std::move(kept);
  return {};
}

Status run_filter(const StageContext& context, const FilterStage& filter, const FilterInstances& instances,
                  const std::vector<ReadDomain>& domains, const std::vector<ColumnStore>& columns, Alive& alive,
                  std::vector<Tallies>& tallies) {
  Alive seen(domains.size()); // what a deduplication compares
  for (std::size_t d = 0; d < domains.size(); ++d) {
    if (!filter.sees(d)) {
      for (const std::uint64_t document : alive[d])
        tallies[d][""].add(static_cast<std::int64_t>(domains[d].texts.bytes(document)));
      continue;
    }
    CONCLAVE_RETURN_IF_ERROR(select_by_row(context, filter, instances, domains[d], columns[d], alive[d], tallies[d]));
    seen[d] = alive[d];
  }
  if (dynamic_cast<const DedupFilter*>(instances.front().get()) == nullptr) return {};

  CONCLAVE_ASSIGN(const auto duplicates, find_duplicates(context, filter, instances, columns, seen));
  for (std::size_t d = 0; d < domains.size(); ++d) {
    if (!filter.sees(d)) continue;
    std::vector<std::uint64_t> kept;
    Tally& taken = tallies[d][duplicates.reason];
    Tally& left = tallies[d][""];
    for (std::size_t i = 0; i < alive[d].size(); ++i) {
      if (!duplicates.drop[d][i]) {
        kept.push_back(alive[d][i]);
        continue;
      }
      const auto bytes = static_cast<std::int64_t>(domains[d].texts.bytes(alive[d][i]));
      taken.add(bytes);
      --left.documents;
      left.bytes -= bytes;
    }
    alive[d] = std::move(kept);
  }
  return {};
}

std::string selection_key(const PrepareRequest& request, const std::vector<ReadDomain>& domains) {
  Digest digest;
  digest.text("select 1");
  for (const ReadDomain& domain : domains) digest.text(domain.key);
  for (const FilterStage& filter : request.filters) digest.text(filter.key());
  return digest.hex();
}

Status make_selection(const StageContext& context, Stage& stage, const std::vector<FilterInstances>& instances,
                      const std::vector<ReadDomain>& domains, const std::vector<std::vector<ColumnStore>>& columns) {
  const PrepareRequest& request = *context.request;
  Alive alive(domains.size());
  for (std::size_t d = 0; d < domains.size(); ++d) {
    alive[d].resize(domains[d].texts.size());
    for (std::size_t i = 0; i < alive[d].size(); ++i) alive[d][i] = i;
  }
  nlohmann::json counts = nlohmann::json::array();
  for (std::size_t f = 0; f < request.filters.size(); ++f) {
    std::vector<Tallies> tallies(domains.size(), Tallies{{"", {}}});
    CONCLAVE_RETURN_IF_ERROR(
        run_filter(context, request.filters[f], instances[f], domains, columns[f], alive, tallies));
    nlohmann::json row = nlohmann::json::array();
    for (const Tallies& each : tallies) row.push_back(to_json(each));
    counts.push_back(std::move(row));
    context.progress("select", static_cast<std::int64_t>(f) + 1, static_cast<std::int64_t>(request.filters.size()),
                     "filters");
  }
  std::vector<FileEntry> files;
  for (std::size_t d = 0; d < domains.size(); ++d) {
    CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(stage.directory() / kept_name(d)));
    CONCLAVE_RETURN_IF_ERROR(writer.write_values(alive[d]));
    CONCLAVE_ASSIGN(FileEntry entry, finish_entry(writer));
    files.push_back(std::move(entry));
  }
  return stage.commit(std::move(files), {{"counts", std::move(counts)}});
}

} // namespace

Result<Selection> select_documents(const StageContext& context, const std::vector<FilterInstances>& instances,
                                   const std::vector<ReadDomain>& domains,
                                   const std::vector<std::vector<ColumnStore>>& columns) {
  const PrepareRequest& request = *context.request;
  CONCLAVE_ASSIGN(Stage stage,
                  Stage::open(request.cache, "select", selection_key(request, domains), request.stop, request.notice));
  if (!stage.complete()) CONCLAVE_RETURN_IF_ERROR(make_selection(context, stage, instances, domains, columns));

  Selection selection;
  for (std::size_t d = 0; d < domains.size(); ++d) {
    CONCLAVE_ASSIGN(MappedFile kept, MappedFile::open(stage.directory() / kept_name(d)));
    selection.kept.push_back(std::move(kept));
    selection.digests.push_back(stage.files()[d].digest);
  }
  for (const auto& filter : stage.facts().at("counts")) {
    auto& row = selection.tallies.emplace_back();
    for (const auto& tallies : filter) row.push_back(tallies_from_json(tallies));
  }
  return selection;
}

} // namespace conclave::data
