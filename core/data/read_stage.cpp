// read: each domain's source to a TextStore. Shards are grouped into parts by their size; a part is one item of work.

#include <atomic>
#include <iterator>
#include <map>
#include <memory>
#include <utility>

#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"
#include "data/utf8.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr std::size_t part_shards = 4096;
constexpr std::uint64_t unknown_shard_bytes = std::uint64_t{1} << 20;

struct PartCounts {
  Tallies tallies;
  std::int64_t repaired = 0;
};

class PartWriter {
 public:
  static Result<PartWriter> create(const std::filesystem::path& directory, std::size_t part) {
    CONCLAVE_ASSIGN(FileWriter texts, FileWriter::create(directory / TextStore::text_name(part)));
    CONCLAVE_ASSIGN(FileWriter ids, FileWriter::create(directory / TextStore::id_name(part)));
    CONCLAVE_ASSIGN(FileWriter languages, FileWriter::create(directory / TextStore::language_name(part)));
    CONCLAVE_ASSIGN(FileWriter records, FileWriter::create(directory / TextStore::record_name(part)));
    CONCLAVE_ASSIGN(FileWriter shards, FileWriter::create(directory / TextStore::shard_name(part)));
    return PartWriter(std::move(texts), std::move(ids), std::move(languages), std::move(records), std::move(shards));
  }
  /// Precondition: tidy() has seen the document.
  Status add(const RawDocument& document) {
    CONCLAVE_RETURN_IF_ERROR(texts_.write(document.text));
    CONCLAVE_RETURN_IF_ERROR(ids_.write(document.id));
    CONCLAVE_RETURN_IF_ERROR(ids_.write(document.url));
    const auto number = static_cast<std::uint32_t>(language_numbers_.size());
    const auto language = language_numbers_.try_emplace(document.language, number).first->second;
    return records_.write_value(TextRecord{.text_end = static_cast<std::uint64_t>(texts_.size()),
                                           .name_end = static_cast<std::uint64_t>(ids_.size()),
                                           .hash = hash_text(document.text),
                                           .url_bytes = static_cast<std::uint32_t>(document.url.size()),
                                           .language = language});
  }
  Status end_shard() { return shards_.write_value(static_cast<std::uint64_t>(records_.size()) / sizeof(TextRecord)); }
  Result<std::vector<FileEntry>> finish(Sync sync) {
    std::vector<std::string_view> lines(language_numbers_.size());
    for (const auto& [language, number] : language_numbers_) lines[number] = language;
    for (const std::string_view line : lines) {
      CONCLAVE_RETURN_IF_ERROR(languages_.write(line));
      CONCLAVE_RETURN_IF_ERROR(languages_.write("\n"));
    }
    std::vector<FileEntry> files;
    for (FileWriter* writer : {&texts_, &ids_, &languages_, &records_, &shards_}) {
      CONCLAVE_ASSIGN(FileEntry entry, finish_entry(*writer, sync));
      files.push_back(std::move(entry));
    }
    return files;
  }

 private:
  PartWriter(FileWriter texts, FileWriter ids, FileWriter languages, FileWriter records, FileWriter shards)
      : texts_(std::move(texts)),
        ids_(std::move(ids)),
        languages_(std::move(languages)),
        records_(std::move(records)),
        shards_(std::move(shards)) {}
  FileWriter texts_, ids_, languages_, records_, shards_;
  std::map<std::string, std::uint32_t> language_numbers_{{"", 0}};
};

/// Makes what stands beside the text fit for the store: file names and headers may hold any bytes.
void tidy(RawDocument& document) {
  for (std::string* field : {&document.id, &document.url, &document.language})
    if (valid_utf8_prefix(*field) != field->size()) *field = repair_utf8(*field);
  if (document.url.size() > RawDocument::max_url_bytes) document.url.clear();
  if (document.language.size() > RawDocument::max_language_bytes || document.language.find('\n') != std::string::npos)
    document.language.clear();
}

Status read_shard(const PrepareRequest& request, const DomainInput& domain, const ShardInfo& shard, PartWriter& writer,
                  PartCounts& counts) {
  const char* plugin = domain.source_id.c_str();
  CONCLAVE_ASSIGN(const std::unique_ptr<ShardReader> reader,
                  guard(plugin, "open", [&] { return domain.source->open(shard); }));
  if (!reader) return internal_error("open() gave no reader for shard " + shard.id, domain.source_id);
  RawDocument document;
  std::string& text = document.text;
  while (!request.stop.stop_requested()) {
    document.clear();
    CONCLAVE_ASSIGN(const bool more, guard(plugin, "next", [&] { return reader->next(document); }));
    if (!more) {
      CONCLAVE_ASSIGN(const std::int64_t skipped, guard(plugin, "skipped", [&] { return reader->skipped(); }));
      if (skipped > 0) counts.tallies["unreadable-record"].documents += skipped;
      return {};
    }
    if (valid_utf8_prefix(text) != text.size()) {
      if (request.drop_invalid_utf8) {
        counts.tallies["invalid-utf8"].add(static_cast<std::int64_t>(text.size()));
        continue;
      }
      text = repair_utf8(text);
      ++counts.repaired;
    }
    tidy(document);
    counts.tallies[""].add(static_cast<std::int64_t>(text.size()));
    CONCLAVE_RETURN_IF_ERROR(writer.add(document));
  }
  return stopped_error();
}

std::uint64_t shard_weight(const ShardInfo& shard) {
  return shard.bytes < 0 ? unknown_shard_bytes : static_cast<std::uint64_t>(shard.bytes);
}

Result<StageOutput> read_part(const PrepareRequest& request, const DomainInput& domain,
                              std::span<const ShardInfo> shards, const UnitCall& call) {
  PartCounts counts;
  CONCLAVE_ASSIGN(PartWriter writer, PartWriter::create(call.directory, call.unit));
  for (const ShardInfo& shard : shards) {
    CONCLAVE_RETURN_IF_ERROR(read_shard(request, domain, shard, writer, counts));
    CONCLAVE_RETURN_IF_ERROR(writer.end_shard());
    call.done.fetch_add(static_cast<std::int64_t>(shard_weight(shard)), std::memory_order_relaxed);
  }
  CONCLAVE_ASSIGN(auto files, writer.finish(call.sync));
  return StageOutput{std::move(files), {{"tallies", to_json(counts.tallies)}, {"repaired_documents", counts.repaired}}};
}

/// A domain's facts from those of its parts.
nlohmann::json add_up(const std::vector<nlohmann::json>& parts, const std::string& domain) {
  Tallies tallies{{"", {}}};
  std::int64_t repaired = 0;
  for (const nlohmann::json& part : parts) {
    for (const auto& [reason, tally] : tallies_from_json(part.at("tallies"))) tallies[reason] += tally;
    repaired += part.at("repaired_documents").get<std::int64_t>();
  }
  return {{"domain", domain}, {"tallies", to_json(tallies)}, {"repaired_documents", repaired}};
}

} // namespace

std::string source_digest(const DomainInput& domain, const std::vector<ShardInfo>& shards, bool drop_invalid_utf8) {
  Digest digest;
  digest.text("read 2").text(domain.source_key).number(drop_invalid_utf8 ? 1 : 0);
  for (const ShardInfo& shard : shards) digest.text(shard.id).text(shard.digest).number(shard.bytes);
  return digest.hex();
}

Result<std::vector<ReadDomain>> read_domains(const StageContext& context,
                                             const std::vector<std::vector<ShardInfo>>& shards) {
  const PrepareRequest& request = *context.request;
  std::vector<std::vector<Range>> parts(shards.size()); // of each domain's shards; a part is a unit
  std::vector<UnitJob> jobs(shards.size());
  for (std::size_t d = 0; d < shards.size(); ++d) {
    parts[d] = cut_into_units(shards[d].size(), part_shards, [&](std::size_t i) { return shard_weight(shards[d][i]); });
    UnitJob& job = jobs[d];
    job.key = source_digest(request.domains[d], shards[d], request.drop_invalid_utf8);
    job.subject = request.domains[d].name;
    job.units = parts[d].size();
    const auto of_part = [&, d](std::size_t part) {
      return std::span(shards[d]).subspan(parts[d][part].first, parts[d][part].second - parts[d][part].first);
    };
    job.size = [of_part](std::size_t part) {
      std::int64_t bytes = 0;
      for (const ShardInfo& shard : of_part(part)) bytes += static_cast<std::int64_t>(shard_weight(shard));
      return bytes;
    };
    job.make = [&, d, of_part](const UnitCall& call) {
      return read_part(request, request.domains[d], of_part(call.unit), call);
    };
    job.facts = [&, d](const std::vector<nlohmann::json>& units) { return add_up(units, request.domains[d].name); };
  }
  CONCLAVE_RETURN_IF_ERROR(make_units(context, "read", "bytes", jobs));

  std::vector<ReadDomain> domains;
  for (std::size_t d = 0; d < shards.size(); ++d) {
    const Stage& stage = *jobs[d].stage;
    ReadDomain read;
    read.key = jobs[d].key;
    read.shards = shards[d];
    read.tallies = tallies_from_json(stage.facts().at("tallies"));
    read.repaired_documents = stage.facts().at("repaired_documents");
    CONCLAVE_ASSIGN(read.texts, TextStore::open(stage.directory(), parts[d].size()));
    domains.push_back(std::move(read));
  }
  return domains;
}

} // namespace conclave::data
