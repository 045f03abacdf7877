// prepare(): the stages in order, the errors of a whole corpus, and the report.

#include "data/prepare.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "data/corpus.hpp"
#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

constexpr const char* source_row = "source";
constexpr const char* length_row = "length-gate";

Status check_request(const PrepareRequest& request) {
  if (request.domains.empty())
    return invalid("the experiment names no domain", "give data.domains at least one", "data.domains");
  for (const DomainInput& domain : request.domains)
    if (!std::isfinite(domain.share) || domain.share <= 0)
      return invalid("the share of domain '" + domain.name + "' is not a positive number", "give it a share above 0",
                     "data.domains." + domain.name + ".share");
  if (request.max_tokens < 1 || request.min_tokens > request.max_tokens)
    return invalid("the length limits " + std::to_string(request.min_tokens) + " to " +
                       std::to_string(request.max_tokens) + " tokens leave nothing",
                   "give a min below max", "data.length");
  if (!(request.held_out >= 0 && request.held_out < 1))
    return invalid("held_out is not a share below 1", "give a share such as 1%", "data.held_out");
  if (request.cache.empty()) return invalid("no folder is given for prepared data", "set data.cache", "data.cache");
  return {};
}

Result<std::vector<std::vector<ShardInfo>>> list_shards(const PrepareRequest& request) {
  std::vector<std::vector<ShardInfo>> all;
  for (const DomainInput& domain : request.domains) {
    CONCLAVE_ASSIGN(auto shards, guard(domain.source_id.c_str(), "shards", [&] { return domain.source->shards(); }));
    if (shards.empty())
      return invalid("domain '" + domain.name + "' has no input: its source found no shard",
                     "check the paths of its source", "data.domains." + domain.name);
    all.push_back(std::move(shards));
  }
  return all;
}

/// What identifies the tokenizer before it is trained: its options, or what was loaded from a file.
Result<std::string> tokenizer_digest(const PrepareRequest& request) {
  return guard(request.tokenizer_id.c_str(), "serialize",
               [&] { return Digest().text(request.tokenizer_key).text(request.tokenizer->serialize()).hex(); });
}

/// Everything that the corpus depends on, so that a finished one is found without any other stage.
Result<std::string> corpus_key(const PrepareRequest& request, const std::vector<std::vector<ShardInfo>>& shards) {
  Digest digest;
  digest.text("corpus 1");
  for (std::size_t d = 0; d < request.domains.size(); ++d) {
    const DomainInput& domain = request.domains[d];
    digest.text(domain.name).number(domain.share).text(source_digest(domain, shards[d], request.drop_invalid_utf8));
  }
  for (const FilterStage& filter : request.filters) digest.text(filter.name).text(filter.key());
  CONCLAVE_ASSIGN(const bool trains, guard(request.tokenizer_id.c_str(), "needs_training",
                                           [&] { return request.tokenizer->needs_training(); }));
  if (trains) {
    digest.text("trained")
        .text(request.tokenizer_id)
        .text(request.tokenizer_key)
        .number(request.tokenizer_sample_bytes);
  } else {
    CONCLAVE_ASSIGN(const std::string given, tokenizer_digest(request));
    digest.text("given").text(request.tokenizer_id).text(given);
  }
  digest.number(request.min_tokens).number(request.max_tokens).number(request.too_long).number(request.held_out);
  return digest.hex();
}

/// The tokenizer of a corpus found in the cache: prepare() leaves it ready either way.
Status restore_tokenizer(const PrepareRequest& request, const std::filesystem::path& directory) {
  CONCLAVE_ASSIGN(const bool untrained, guard(request.tokenizer_id.c_str(), "needs_training",
                                              [&] { return request.tokenizer->needs_training(); }));
  if (!untrained) return {};
  CONCLAVE_ASSIGN(const std::string state, read_tokenizer_state(directory));
  return guard(request.tokenizer_id.c_str(), "load", [&] { return request.tokenizer->load(state); });
}

void add_counts(PrepareReport& report, const std::string& filter, const std::string& domain, const Tallies& tallies) {
  for (const auto& [reason, tally] : tallies)
    report.counts.push_back({filter, domain, reason, tally.documents, tally.bytes});
}

/// Precondition: the domain has lost all its documents.
Error empty_domain(const PrepareReport& report, const std::string& domain) {
  const FilterCount* most = nullptr;
  std::int64_t read = 0;
  for (const FilterCount& count : report.counts) {
    if (count.domain != domain) continue;
    if (count.filter == source_row && count.reason.empty()) read = count.documents;
    if (!count.reason.empty() && count.documents > 0 && (most == nullptr || count.documents > most->documents))
      most = &count;
  }
  const std::string where = "data.domains." + domain;
  if (most == nullptr)
    return invalid("domain '" + domain + "' has no document: its source read none", "check what its source names",
                   where);
  if (read == 0) {
    std::int64_t records = 0;
    std::string reasons;
    for (const FilterCount& count : report.counts) {
      if (count.domain != domain || count.filter != source_row || count.documents == 0) continue;
      records += count.documents;
      reasons += (reasons.empty() ? "" : ", ") + std::to_string(count.documents) + " " + count.reason;
    }
    return invalid("domain '" + domain + "' has no document: its source could use none of " + std::to_string(records) +
                       (records == 1 ? " record (" : " records (") + reasons + ")",
                   "check what its `paths` name, and its source's options such as `text`", where);
  }
  return invalid("domain '" + domain + "' has no document left of " + std::to_string(read) + " read: '" + most->filter +
                     "' took most, " + std::to_string(most->documents) + " for '" + most->reason + "'",
                 "loosen that filter, or give the domain more text", where);
}

/// A path of the cache that cannot be used, or one on the way to it: says which key of the experiment chose it.
Error name_cache(Error error, const std::string& cache) {
  const bool on_the_way = !error.where.empty() && cache.starts_with(error.where);
  if (error.code == Code::storage && (on_the_way || error.where.starts_with(cache)))
    error.fix += std::string(error.fix.empty() ? "" : "; ") + "data.cache chooses another folder";
  return error;
}

class Preparation {
 public:
  Preparation(const PrepareRequest& request, PrepareReport& report) : request_(request), report_(report) {
    context_.request = &request;
    context_.workers =
        request.workers > 0 ? request.workers : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }

  Status run(const std::vector<std::vector<ShardInfo>>& shards, Stage& corpus) {
    CONCLAVE_RETURN_IF_ERROR(read(shards));
    CONCLAVE_RETURN_IF_ERROR(filter());
    CONCLAVE_RETURN_IF_ERROR(train_tokenizer(context_, domains_, selection_));
    return tokenise(corpus);
  }

 private:
  Status read(const std::vector<std::vector<ShardInfo>>& shards) {
    CONCLAVE_ASSIGN(domains_, read_domains(context_, shards));
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      DomainSummary summary;
      summary.name = request_.domains[d].name;
      summary.shards = domains_[d].shards;
      summary.repaired_documents = domains_[d].repaired_documents;
      add_counts(report_, source_row, summary.name, domains_[d].tallies);
      if (domains_[d].texts.size() == 0) return empty_domain(report_, summary.name);
      report_.domains.push_back(std::move(summary));
    }
    return {};
  }

  Status filter() {
    std::vector<FilterInstances> instances;
    std::vector<std::vector<ColumnStore>> columns;
    for (const FilterStage& stage : request_.filters) {
      FilterInstances& made = instances.emplace_back();
      for (int w = 0; w < context_.workers; ++w) {
        CONCLAVE_ASSIGN(auto instance, guard(stage.id.c_str(), "create", stage.make));
        made.push_back(std::move(instance));
      }
      auto& row = columns.emplace_back();
      for (std::size_t d = 0; d < domains_.size(); ++d) {
        row.emplace_back();
        if (stage.sees(d)) {
          CONCLAVE_ASSIGN(row.back(), annotate_domain(context_, stage, made, domains_[d]));
        }
      }
    }
    CONCLAVE_ASSIGN(selection_, select_documents(context_, instances, domains_, columns));
    for (std::size_t f = 0; f < request_.filters.size(); ++f)
      for (std::size_t d = 0; d < domains_.size(); ++d)
        add_counts(report_, request_.filters[f].name, request_.domains[d].name, selection_.tallies[f][d]);
    for (std::size_t d = 0; d < domains_.size(); ++d)
      if (selection_.documents(d).empty()) return empty_domain(report_, request_.domains[d].name);
    return {};
  }

  Status tokenise(Stage& corpus) {
    const char* plugin = request_.tokenizer_id.c_str();
    CorpusParts parts;
    CONCLAVE_ASSIGN(parts.tokenizer_state, guard(plugin, "serialize", [&] { return request_.tokenizer->serialize(); }));
    CONCLAVE_ASSIGN(parts.special,
                    guard(plugin, "special_tokens", [&] { return request_.tokenizer->special_tokens(); }));
    CONCLAVE_ASSIGN(parts.vocabulary_size,
                    guard(plugin, "vocabulary_size", [&] { return request_.tokenizer->vocabulary_size(); }));
    CONCLAVE_ASSIGN(const std::string digest, tokenizer_digest(request_));
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      CONCLAVE_ASSIGN(const TokenisedDomain tokenised, tokenise_domain(context_, d, domains_[d], selection_, digest));
      CONCLAVE_ASSIGN(GatedDomain gated, gate_domain(context_, d, domains_[d], selection_, tokenised));
      context_.progress("length", static_cast<std::int64_t>(d) + 1, static_cast<std::int64_t>(domains_.size()),
                        "domains");
      add_counts(report_, length_row, request_.domains[d].name, gated.tallies);
      if (gated.stage.facts().at("train").at("documents") == 0) return empty_domain(report_, request_.domains[d].name);
      parts.domains.push_back(std::move(gated));
    }
    return write_corpus(corpus, request_, parts, report_);
  }

  const PrepareRequest& request_;
  PrepareReport& report_;
  StageContext context_;
  std::vector<ReadDomain> domains_;
  Selection selection_;
};

} // namespace

Result<std::shared_ptr<const TokenStore>> prepare(const PrepareRequest& request, PrepareReport& report) {
  report = {};
  auto store = detail::call_without_throwing<std::shared_ptr<const TokenStore>>(
      [&]() -> Result<std::shared_ptr<const TokenStore>> {
        CONCLAVE_RETURN_IF_ERROR(check_request(request));
        CONCLAVE_ASSIGN(const auto shards, list_shards(request));
        CONCLAVE_ASSIGN(const std::string key, corpus_key(request, shards));
        CONCLAVE_ASSIGN(Stage corpus, Stage::open(request.cache, "corpus", key, request.stop, request.notice));
        const bool cached = corpus.complete();
        if (cached) {
          CONCLAVE_RETURN_IF_ERROR(restore_tokenizer(request, corpus.directory()));
        } else {
          CONCLAVE_RETURN_IF_ERROR(Preparation(request, report).run(shards, corpus));
        }
        report = corpus_report(corpus.facts());
        report.cached = cached;
        return open_token_store(corpus.directory());
      });
  if (!store.ok()) return name_cache(store.error(), request.cache.string());
  return store;
}

} // namespace conclave::data
