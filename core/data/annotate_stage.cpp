// annotate: one filter's columns for one domain's documents, dropped or not: so a threshold changes nothing here.

#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::size_t annotate_chunk_documents = 1024;
constexpr std::uint64_t annotate_chunk_bytes = std::uint64_t{1} << 20;

} // namespace

Result<ColumnStore> annotate_domain(const StageContext& context, const FilterStage& filter,
                                    const FilterInstances& instances, const ReadDomain& domain) {
  const PrepareRequest& request = *context.request;
  const char* plugin = filter.id.c_str();
  CONCLAVE_ASSIGN(const std::vector<ColumnSpec> specs,
                  guard(plugin, "columns", [&] { return instances.front()->columns(); }));
  if (specs.empty()) return ColumnStore();
  const std::string key = Digest().text("annotate 1").text(domain.key).text(filter.annotate_key).hex();
  CONCLAVE_ASSIGN(Stage stage, Stage::open(request.cache, "annotate", key, request.stop, request.notice));
  if (!stage.complete()) {
    std::vector<FileWriter> writers;
    for (std::size_t c = 0; c < specs.size(); ++c) {
      CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(stage.directory() / ColumnStore::file_name(c)));
      writers.push_back(std::move(writer));
    }
    const TextStore& texts = domain.texts;
    const auto chunks = cut_into_chunks(texts.size(), annotate_chunk_documents, annotate_chunk_bytes,
                                        [&](std::size_t i) { return texts.bytes(i); });
    const Status done = ordered_parallel<ColumnBlock>(
        context.workers, static_cast<std::int64_t>(chunks.size()), request.stop,
        [&](std::int64_t chunk, int worker) -> Result<ColumnBlock> {
          const auto [begin, end] = chunks[static_cast<std::size_t>(chunk)];
          std::vector<Document> documents;
          documents.reserve(end - begin);
          for (std::size_t i = begin; i < end; ++i) documents.push_back(texts.document(i));
          ColumnBlock block(specs, documents.size());
          CONCLAVE_RETURN_IF_ERROR(guard(
              plugin, "annotate", [&] { instances[static_cast<std::size_t>(worker)]->annotate(documents, block); }));
          return block;
        },
        [&](std::int64_t chunk, ColumnBlock&& block) -> Status {
          for (std::size_t c = 0; c < specs.size(); ++c)
            CONCLAVE_RETURN_IF_ERROR(writers[c].write_values(block.column(c)));
          context.progress("annotate", static_cast<std::int64_t>(chunks[static_cast<std::size_t>(chunk)].second),
                           static_cast<std::int64_t>(texts.size()), "documents");
          return {};
        });
    CONCLAVE_RETURN_IF_ERROR(done);
    std::vector<FileEntry> files;
    for (FileWriter& writer : writers) {
      CONCLAVE_ASSIGN(FileEntry entry, finish_entry(writer));
      files.push_back(std::move(entry));
    }
    CONCLAVE_RETURN_IF_ERROR(stage.commit(std::move(files), {{"filter", filter.id}}));
  }
  return ColumnStore::open(stage.directory(), specs);
}

} // namespace conclave::data
