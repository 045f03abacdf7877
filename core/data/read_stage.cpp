// read: each domain's source to a TextStore. Shards are grouped into parts by their size; a part is one item of work.

#include <atomic>
#include <iterator>
#include <map>
#include <memory>
#include <utility>

#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/utf8.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::uint64_t part_bytes = std::uint64_t{4} << 20;
constexpr std::size_t part_shards = 4096;
constexpr std::uint64_t unknown_shard_bytes = std::uint64_t{1} << 20;

struct PartResult {
  std::vector<FileEntry> files;
  Tallies tallies;
  std::int64_t repaired = 0;
};

class PartWriter {
 public:
  static Result<PartWriter> create(const std::filesystem::path& directory, std::size_t part) {
    CONCLAVE_ASSIGN(FileWriter texts, FileWriter::create(directory / TextStore::text_name(part)));
    CONCLAVE_ASSIGN(FileWriter ids, FileWriter::create(directory / TextStore::id_name(part)));
    CONCLAVE_ASSIGN(FileWriter records, FileWriter::create(directory / TextStore::record_name(part)));
    return PartWriter(std::move(texts), std::move(ids), std::move(records));
  }
  Status add(std::string_view id, std::string_view text) {
    CONCLAVE_RETURN_IF_ERROR(texts_.write(text));
    CONCLAVE_RETURN_IF_ERROR(ids_.write(id));
    return records_.write_value(TextRecord{static_cast<std::uint64_t>(texts_.size()),
                                           static_cast<std::uint64_t>(ids_.size()), hash_text(text)});
  }
  Result<std::vector<FileEntry>> finish() {
    std::vector<FileEntry> files;
    for (FileWriter* writer : {&texts_, &ids_, &records_}) {
      CONCLAVE_ASSIGN(FileEntry entry, finish_entry(*writer));
      files.push_back(std::move(entry));
    }
    return files;
  }

 private:
  PartWriter(FileWriter texts, FileWriter ids, FileWriter records)
      : texts_(std::move(texts)), ids_(std::move(ids)), records_(std::move(records)) {}
  FileWriter texts_, ids_, records_;
};

Status read_shard(const PrepareRequest& request, const DomainInput& domain, const ShardInfo& shard, PartWriter& writer,
                  PartResult& result, std::atomic<std::int64_t>& documents) {
  const char* plugin = domain.source_id.c_str();
  CONCLAVE_ASSIGN(const std::unique_ptr<ShardReader> reader,
                  guard(plugin, "open", [&] { return domain.source->open(shard); }));
  if (!reader) return internal_error("open() gave no reader for shard " + shard.id, domain.source_id);
  std::string id, text;
  while (!request.stop.stop_requested()) {
    id.clear();
    text.clear();
    CONCLAVE_ASSIGN(const bool more, guard(plugin, "next", [&] { return reader->next(id, text); }));
    if (!more) {
      CONCLAVE_ASSIGN(const std::int64_t skipped, guard(plugin, "skipped", [&] { return reader->skipped(); }));
      if (skipped > 0) result.tallies["unreadable-record"].documents += skipped;
      return {};
    }
    if (valid_utf8_prefix(text) != text.size()) {
      if (request.drop_invalid_utf8) {
        result.tallies["invalid-utf8"].add(static_cast<std::int64_t>(text.size()));
        continue;
      }
      text = repair_utf8(text);
      ++result.repaired;
    }
    if (valid_utf8_prefix(id) != id.size()) id = repair_utf8(id); // file names may be anything
    result.tallies[""].add(static_cast<std::int64_t>(text.size()));
    documents.fetch_add(1, std::memory_order_relaxed);
    CONCLAVE_RETURN_IF_ERROR(writer.add(id, text));
  }
  return stopped_error();
}

Result<PartResult> read_part(const PrepareRequest& request, const DomainInput& domain,
                             std::span<const ShardInfo> shards, const std::filesystem::path& directory,
                             std::size_t part, std::atomic<std::int64_t>& documents) {
  PartResult result;
  CONCLAVE_ASSIGN(PartWriter writer, PartWriter::create(directory, part));
  for (const ShardInfo& shard : shards)
    CONCLAVE_RETURN_IF_ERROR(read_shard(request, domain, shard, writer, result, documents));
  CONCLAVE_ASSIGN(result.files, writer.finish());
  return result;
}

std::uint64_t shard_weight(const ShardInfo& shard) {
  return shard.bytes < 0 ? unknown_shard_bytes : static_cast<std::uint64_t>(shard.bytes);
}

/// One domain while its parts are read.
struct DomainWork {
  std::string key;
  std::vector<Range> parts; ///< of its shards
  std::vector<FileEntry> files;
  Tallies tallies{{"", {}}};
  std::int64_t repaired = 0;

  void add(PartResult&& result) {
    std::move(result.files.begin(), result.files.end(), std::back_inserter(files));
    for (const auto& [reason, tally] : result.tallies) tallies[reason] += tally;
    repaired += result.repaired;
  }
  Status commit(Stage& stage, const std::string& domain) {
    return stage.commit(std::move(files),
                        {{"domain", domain}, {"tallies", to_json(tallies)}, {"repaired_documents", repaired}});
  }
};

} // namespace

std::string source_digest(const DomainInput& domain, const std::vector<ShardInfo>& shards, bool drop_invalid_utf8) {
  Digest digest;
  digest.text("read 1").text(domain.source_key).number(drop_invalid_utf8 ? 1 : 0);
  for (const ShardInfo& shard : shards) digest.text(shard.id).text(shard.digest).number(shard.bytes);
  return digest.hex();
}

Result<std::vector<ReadDomain>> read_domains(const StageContext& context,
                                             const std::vector<std::vector<ShardInfo>>& shards) {
  const PrepareRequest& request = *context.request;
  std::vector<DomainWork> work(shards.size());
  // Locks are taken in the order of their keys, so that two processes never wait for each other; domains with the same
  // input share a stage.
  std::map<std::string, std::size_t> maker;
  for (std::size_t d = 0; d < work.size(); ++d) {
    work[d].key = source_digest(request.domains[d], shards[d], request.drop_invalid_utf8);
    work[d].parts = cut_into_chunks(shards[d].size(), part_shards, part_bytes,
                                    [&](std::size_t i) { return shard_weight(shards[d][i]); });
    maker.try_emplace(work[d].key, d);
  }
  std::map<std::string, Stage> stages;
  for (const auto& [key, d] : maker) {
    CONCLAVE_ASSIGN(Stage stage, Stage::open(request.cache, "read", key, request.stop, request.notice));
    stages.emplace(key, std::move(stage));
  }
  std::vector<std::pair<std::size_t, std::size_t>> items; // (domain, part), so that small domains fill all workers too
  for (std::size_t d = 0; d < work.size(); ++d)
    if (maker.at(work[d].key) == d && !stages.at(work[d].key).complete())
      for (std::size_t p = 0; p < work[d].parts.size(); ++p) items.emplace_back(d, p);

  std::atomic<std::int64_t> documents = 0;
  const Status done = ordered_parallel<PartResult>(
      context.workers, static_cast<std::int64_t>(items.size()), request.stop,
      [&](std::int64_t item, int) {
        const auto [d, part] = items[static_cast<std::size_t>(item)];
        const auto [begin, end] = work[d].parts[part];
        return read_part(request, request.domains[d], std::span(shards[d]).subspan(begin, end - begin),
                         stages.at(work[d].key).directory(), part, documents);
      },
      [&](std::int64_t item, PartResult&& result) -> Status {
        const auto [d, part] = items[static_cast<std::size_t>(item)];
        work[d].add(std::move(result));
        if (part + 1 < work[d].parts.size()) return {};
        return work[d].commit(stages.at(work[d].key), request.domains[d].name);
      },
      [&] { context.progress("read", documents, 0, "documents"); });
  CONCLAVE_RETURN_IF_ERROR(done);

  std::vector<ReadDomain> domains;
  for (std::size_t d = 0; d < work.size(); ++d) {
    const Stage& stage = stages.at(work[d].key);
    ReadDomain read;
    read.key = work[d].key;
    read.shards = static_cast<std::int64_t>(shards[d].size());
    read.tallies = tallies_from_json(stage.facts().at("tallies"));
    read.repaired_documents = stage.facts().at("repaired_documents");
    CONCLAVE_ASSIGN(read.texts, TextStore::open(stage.directory(), work[d].parts.size()));
    domains.push_back(std::move(read));
  }
  return domains;
}

} // namespace conclave::data
