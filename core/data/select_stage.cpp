// select: each filter in the order of the experiment takes documents away; what is left is a list of ordinals per domain.

#include <limits>

#include "data/dedup.hpp"
#include "data/drop_sample.hpp"
#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::size_t select_chunk_documents = 16384;

std::string kept_name(std::size_t domain) { return "kept-" + std::to_string(domain); }

struct ChunkResult {
  std::vector<std::size_t> dropped;
  Tallies tallies;
  DropSamples samples;
};

Status select_by_row(const StageContext& context, const FilterStage& filter, const FilterInstances& instances,
                     const ReadDomain& domain, const ColumnStore& columns, std::vector<bool>& alive, Tallies& tallies,
                     DropSamples& samples) {
  const auto chunks = cut_into_chunks(alive.size(), select_chunk_documents, std::numeric_limits<std::uint64_t>::max(),
                                      [](std::size_t) { return 1; });
  // A chunk's bits are cleared when it is consumed, and others' bits share words with it: workers read a copy.
  const std::vector<bool> before = alive;
  return ordered_parallel<ChunkResult>(
      context.workers, static_cast<std::int64_t>(chunks.size()), context.request->stop,
      [&](std::int64_t chunk, int worker) -> Result<ChunkResult> {
        const Filter& instance = *instances[static_cast<std::size_t>(worker)];
        const auto [begin, end] = chunks[static_cast<std::size_t>(chunk)];
        ChunkResult result;
        CONCLAVE_RETURN_IF_ERROR(guard(filter.id.c_str(), "select", [&] {
          for (std::size_t i = begin; i < end; ++i) {
            if (!before[i]) continue;
            const Verdict verdict = instance.select(StoredRow(columns, i));
            const auto bytes = static_cast<std::int64_t>(domain.texts.bytes(i));
            result.tallies[verdict.reason == nullptr ? "" : verdict.reason].add(bytes);
            if (verdict.reason == nullptr) continue;
            result.dropped.push_back(i);
            result.samples[verdict.reason].offer(domain.texts.hash(i), i);
          }
        }));
        return result;
      },
      [&](std::int64_t, ChunkResult&& result) -> Status {
        for (const std::size_t document : result.dropped) alive[document] = false;
        for (const auto& [reason, tally] : result.tallies) tallies[reason] += tally;
        for (const auto& [reason, sample] : result.samples) samples[reason].merge(sample);
        return {};
      });
}

/// Counts the documents of a domain that are alive, or also in `of`.
Tally count(const ReadDomain& domain, const std::vector<bool>& alive, const std::vector<bool>* of = nullptr) {
  Tally tally;
  for (std::size_t i = 0; i < alive.size(); ++i)
    if (alive[i] && (of == nullptr || (*of)[i])) tally.add(static_cast<std::int64_t>(domain.texts.bytes(i)));
  return tally;
}

struct Selecting {
  DocumentSet alive;
  std::vector<std::vector<Tallies>> tallies;     ///< [filter][domain]
  std::vector<std::vector<DropSamples>> samples; ///< [filter][domain]
  std::vector<DedupSummary> dedup;
};

nlohmann::json to_json(const std::vector<std::vector<DropSamples>>& samples) {
  nlohmann::json filters = nlohmann::json::array();
  for (const auto& filter : samples) {
    nlohmann::json domains = nlohmann::json::array();
    for (const DropSamples& domain : filter) {
      nlohmann::json reasons = nlohmann::json::object();
      for (const auto& [reason, sample] : domain) reasons[reason] = sample.documents();
      domains.push_back(std::move(reasons));
    }
    filters.push_back(std::move(domains));
  }
  return filters;
}

Status run_filter(const StageContext& context, const FilterStage& filter, const FilterInstances& instances,
                  const std::vector<ReadDomain>& domains, const std::vector<ColumnStore>& columns,
                  const std::filesystem::path& scratch, Selecting& selecting) {
  DocumentSet& alive = selecting.alive;
  auto& tallies = selecting.tallies.emplace_back(domains.size(), Tallies{{"", {}}});
  auto& samples = selecting.samples.emplace_back(domains.size());
  for (std::size_t d = 0; d < domains.size(); ++d) {
    if (!filter.sees(d)) {
      tallies[d][""] = count(domains[d], alive[d]);
    } else {
      CONCLAVE_RETURN_IF_ERROR(
          select_by_row(context, filter, instances, domains[d], columns[d], alive[d], tallies[d], samples[d]));
    }
  }
  if (dynamic_cast<const DedupFilter*>(instances.front().get()) == nullptr) return {};

  CONCLAVE_ASSIGN(auto duplicates, find_duplicates(context, filter, instances, domains, columns, alive, scratch));
  for (std::size_t d = 0; d < domains.size(); ++d) {
    if (!filter.sees(d)) continue;
    const Tally taken = count(domains[d], alive[d], &duplicates.drop[d]);
    tallies[d][duplicates.reason] += taken;
    tallies[d][""].documents -= taken.documents;
    tallies[d][""].bytes -= taken.bytes;
    for (std::size_t i = 0; i < alive[d].size(); ++i) {
      if (!duplicates.drop[d][i]) continue;
      if (alive[d][i]) samples[d][duplicates.reason].offer(domains[d].texts.hash(i), i);
      alive[d][i] = false;
    }
  }
  selecting.dedup.push_back(std::move(duplicates.summary));
  return {};
}

/// The ordinals of one domain's documents that are left.
Result<FileEntry> write_kept(const std::filesystem::path& path, const std::vector<bool>& alive) {
  CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(path));
  for (std::uint64_t i = 0; i < alive.size(); ++i)
    if (alive[i]) CONCLAVE_RETURN_IF_ERROR(writer.write_value(i));
  return finish_entry(writer);
}

std::string selection_key(const PrepareRequest& request, const std::vector<ReadDomain>& domains) {
  Digest digest;
  digest.text("select 3");
  for (const ReadDomain& domain : domains) digest.text(domain.key);
  for (const FilterStage& filter : request.filters) digest.text(filter.key());
  return digest.hex();
}

Result<StageOutput> make_selection(const StageContext& context, const std::filesystem::path& directory,
                                   const std::vector<FilterInstances>& instances,
                                   const std::vector<ReadDomain>& domains,
                                   const std::vector<std::vector<ColumnStore>>& columns) {
  const PrepareRequest& request = *context.request;
  Selecting selecting;
  for (const ReadDomain& domain : domains) selecting.alive.emplace_back(domain.texts.size(), true);
  nlohmann::json counts = nlohmann::json::array(), dedup = nlohmann::json::array();
  for (std::size_t f = 0; f < request.filters.size(); ++f) {
    CONCLAVE_RETURN_IF_ERROR(
        run_filter(context, request.filters[f], instances[f], domains, columns[f], directory, selecting));
    nlohmann::json row = nlohmann::json::array();
    for (const Tallies& each : selecting.tallies[f]) row.push_back(to_json(each));
    counts.push_back(std::move(row));
    context.progress("select", static_cast<std::int64_t>(f) + 1, static_cast<std::int64_t>(request.filters.size()),
                     "filters");
  }
  for (const DedupSummary& each : selecting.dedup) dedup.push_back(to_json(each));
  std::vector<FileEntry> files;
  for (std::size_t d = 0; d < domains.size(); ++d) {
    CONCLAVE_ASSIGN(FileEntry entry, write_kept(directory / kept_name(d), selecting.alive[d]));
    files.push_back(std::move(entry));
  }
  return StageOutput{
      std::move(files),
      {{"counts", std::move(counts)}, {"dedup", std::move(dedup)}, {"samples", to_json(selecting.samples)}}};
}

} // namespace

Result<Selection> select_documents(const StageContext& context, const std::vector<FilterInstances>& instances,
                                   const std::vector<ReadDomain>& domains,
                                   const std::vector<std::vector<ColumnStore>>& columns) {
  const auto make = [&](const std::filesystem::path& directory) {
    return make_selection(context, directory, instances, domains, columns);
  };
  CONCLAVE_ASSIGN(const Stage stage, make_whole(context, "select", selection_key(*context.request, domains), make));

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
  for (const auto& filter : stage.facts().at("samples")) {
    auto& row = selection.samples.emplace_back();
    for (const auto& reasons : filter) row.push_back(reasons.get<std::map<std::string, std::vector<std::uint64_t>>>());
  }
  for (const auto& each : stage.facts().at("dedup")) selection.dedup.push_back(dedup_from_json(each));
  return selection;
}

} // namespace conclave::data
