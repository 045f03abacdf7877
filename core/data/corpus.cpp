// Writing the corpus folder and its facts; token_store.cpp reads the same keys.

#include "data/corpus.hpp"

#include <cstdio>

namespace conclave::data {
namespace {

using nlohmann::json;

constexpr const char* splits[] = {"train", "held_out"};
constexpr const char* kinds[] = {"tokens", "bounds"};

/// Compact, for the cache; what summaries repeat from the corpus's own facts is left out.
json report_facts(const PrepareReport& report) {
  json counts = json::array(), dedup = json::array(), domains = json::array();
  for (const FilterCount& count : report.counts)
    counts.push_back({count.filter, count.domain, count.reason, count.documents, count.bytes});
  for (const DedupSummary& each : report.dedup) dedup.push_back(to_json(each));
  for (const DomainSummary& domain : report.domains)
    domains.push_back(
        {{"name", domain.name}, {"shards", domain.shards}, {"repaired_documents", domain.repaired_documents}});
  return {{"counts", std::move(counts)}, {"dedup", std::move(dedup)}, {"domains", std::move(domains)}};
}

} // namespace

std::string corpus_file_name(const std::string& split, std::size_t domain, const std::string& kind) {
  char number[24];
  std::snprintf(number, sizeof number, "-%05zu.", domain);
  return split + number + kind;
}

Result<StageOutput> write_corpus(const std::filesystem::path& directory, const PrepareRequest& request,
                                 const CorpusParts& parts, const PrepareReport& report) {
  std::vector<FileEntry> files;
  // The store's digest: the tokens and what they mean, not where they came from or how they are mixed.
  Digest digest;
  digest.text("corpus 1").number(parts.vocabulary_size).number(parts.special.beginning).number(parts.special.end);
  digest.number(parts.special.padding).number(parts.special.unknown);
  json domains = json::array();
  double total_share = 0;
  for (const DomainInput& domain : request.domains) total_share += domain.share;
  for (std::size_t d = 0; d < parts.domains.size(); ++d) {
    const Stage& gated = parts.domains[d].stage;
    digest.text(request.domains[d].name);
    json entry = {{"name", request.domains[d].name}, {"share", request.domains[d].share / total_share}};
    for (const char* split : splits) {
      entry[split] = gated.facts().at(split);
      for (const char* kind : kinds) {
        const std::string source = std::string(split) + "." + kind;
        FileEntry file;
        for (const FileEntry& each : gated.files())
          if (each.name == source) file = each;
        file.name = corpus_file_name(split, d, kind);
        CONCLAVE_RETURN_IF_ERROR(link_or_copy(gated.directory() / source, directory / file.name));
        digest.text(file.digest);
        files.push_back(std::move(file));
      }
    }
    domains.push_back(std::move(entry));
  }
  CONCLAVE_ASSIGN(FileWriter state, FileWriter::create(directory / corpus_tokenizer_name));
  CONCLAVE_RETURN_IF_ERROR(state.write(parts.tokenizer_state));
  CONCLAVE_ASSIGN(FileEntry state_entry, finish_entry(state));
  files.push_back(std::move(state_entry));
  return StageOutput{std::move(files),
                     {{"corpus_digest", digest.hex()},
                      {"vocabulary_size", parts.vocabulary_size},
                      {"token_bytes", token_width(parts.vocabulary_size)},
                      {"special_tokens",
                       {{"beginning", parts.special.beginning},
                        {"end", parts.special.end},
                        {"padding", parts.special.padding},
                        {"unknown", parts.special.unknown}}},
                      {"tokenizer", request.tokenizer_id},
                      {"domains", std::move(domains)},
                      {"report", report_facts(report)}}};
}

PrepareReport corpus_report(const json& facts) {
  PrepareReport report;
  for (const json& row : facts.at("report").at("counts"))
    report.counts.push_back({row.at(0), row.at(1), row.at(2), row.at(3), row.at(4)});
  for (const json& row : facts.at("report").at("dedup")) report.dedup.push_back(dedup_from_json(row));
  const json& domains = facts.at("domains");
  for (std::size_t d = 0; d < domains.size(); ++d) {
    const json& kept = facts.at("report").at("domains").at(d);
    const json &train = domains[d].at("train"), &held_out = domains[d].at("held_out");
    DomainSummary summary;
    summary.name = kept.at("name");
    summary.shards = kept.at("shards");
    summary.repaired_documents = kept.at("repaired_documents");
    summary.train_documents = train.at("documents");
    summary.train_tokens = train.at("tokens");
    summary.train_bytes = train.at("text_bytes");
    summary.held_out_documents = held_out.at("documents");
    summary.held_out_tokens = held_out.at("tokens");
    summary.held_out_bytes = held_out.at("text_bytes");
    report.domains.push_back(std::move(summary));
  }
  return report;
}

} // namespace conclave::data
