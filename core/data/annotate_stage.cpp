// annotate: each filter's columns for each domain's documents, dropped or not: so a threshold changes nothing here.

#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::size_t annotate_chunk_documents = 1024;
constexpr std::uint64_t annotate_chunk_bytes = std::uint64_t{1} << 20;
constexpr std::size_t annotate_unit_documents = std::size_t{1} << 16;

/// The columns of a run of documents, a file each.
Result<StageOutput> annotate_run(const PrepareRequest& request, const char* plugin, Filter& filter,
                                 const std::vector<ColumnSpec>& specs, const TextStore& texts, Range run,
                                 const UnitCall& call) {
  std::vector<FileWriter> writers;
  for (std::size_t c = 0; c < specs.size(); ++c) {
    CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(call.directory / ColumnStore::file_name(c)));
    writers.push_back(std::move(writer));
  }
  const auto chunks = cut_into_chunks(run.second - run.first, annotate_chunk_documents, annotate_chunk_bytes,
                                      [&](std::size_t i) { return texts.bytes(run.first + i); });
  std::vector<Document> documents;
  for (const auto& [begin, end] : chunks) {
    if (request.stop.stop_requested()) return stopped_error();
    documents.clear();
    for (std::size_t i = begin; i < end; ++i) documents.push_back(texts.document(run.first + i));
    ColumnBlock block(specs, documents.size());
    CONCLAVE_RETURN_IF_ERROR(guard(plugin, "annotate", [&] { filter.annotate(documents, block); }));
    for (std::size_t c = 0; c < specs.size(); ++c) CONCLAVE_RETURN_IF_ERROR(writers[c].write_values(block.column(c)));
    call.done.fetch_add(static_cast<std::int64_t>(end - begin), std::memory_order_relaxed);
  }
  StageOutput output;
  for (FileWriter& writer : writers) {
    CONCLAVE_ASSIGN(FileEntry entry, finish_entry(writer, call.sync));
    output.files.push_back(std::move(entry));
  }
  return output;
}

} // namespace

Result<std::vector<std::vector<ColumnStore>>> annotate_domains(const StageContext& context,
                                                               const std::vector<FilterInstances>& instances,
                                                               const std::vector<ReadDomain>& domains) {
  const PrepareRequest& request = *context.request;
  std::vector<std::vector<Range>> units;
  for (const ReadDomain& domain : domains)
    units.push_back(cut_into_units(domain.texts.size(), annotate_unit_documents,
                                   [&](std::size_t i) { return domain.texts.bytes(i); }));
  std::vector<std::vector<ColumnSpec>> specs;
  std::vector<UnitJob> jobs;
  std::vector<std::pair<std::size_t, std::size_t>> places; // filter and domain of each job
  for (std::size_t f = 0; f < instances.size(); ++f) {
    const FilterStage& filter = request.filters[f];
    CONCLAVE_ASSIGN(auto columns, guard(filter.id.c_str(), "columns", [&] { return instances[f].front()->columns(); }));
    specs.push_back(std::move(columns));
    for (std::size_t d = 0; d < domains.size(); ++d) {
      if (!filter.sees(d) || specs[f].empty()) continue;
      UnitJob job;
      job.key = Digest().text("annotate 1").text(domains[d].key).text(filter.annotate_key).hex();
      job.subject = filter.name + " of " + request.domains[d].name;
      job.units = units[d].size();
      job.size = [&units, d](std::size_t u) {
        return static_cast<std::int64_t>(units[d][u].second - units[d][u].first);
      };
      job.make = [&, f, d](const UnitCall& call) {
        return annotate_run(request, request.filters[f].id.c_str(),
                            *instances[f][static_cast<std::size_t>(call.worker)], specs[f], domains[d].texts,
                            units[d][call.unit], call);
      };
      job.facts = [&filter](const auto&) { return nlohmann::json{{"filter", filter.id}}; };
      jobs.push_back(std::move(job));
      places.emplace_back(f, d);
    }
  }
  CONCLAVE_RETURN_IF_ERROR(make_units(context, "annotate", "documents", jobs));

  std::vector<std::vector<ColumnStore>> columns(instances.size());
  for (auto& row : columns) row.resize(domains.size());
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    const auto [f, d] = places[j];
    CONCLAVE_ASSIGN(columns[f][d], ColumnStore::open(jobs[j].stage->directory(), specs[f]));
  }
  return columns;
}

} // namespace conclave::data
