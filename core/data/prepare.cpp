// prepare(): the stages in order, the errors of a whole corpus, and the report.

#include "data/prepare.hpp"

#include <algorithm>
#include <cmath>
#include <thread>

#include "data/corpus.hpp"
#include "data/parallel.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"
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

/// What identifies the tokenizer before it is trained: its options, or what was loaded from a file.
Result<std::string> tokenizer_digest(const PrepareRequest& request) {
  return guard(request.tokenizer_id.c_str(), "serialize",
               [&] { return Digest().text(request.tokenizer_key).text(request.tokenizer->serialize()).hex(); });
}

/// Everything that the corpus depends on, so that a finished one is found without any other stage.
Result<std::string> corpus_key(const PrepareRequest& request, const std::vector<std::vector<ShardInfo>>& shards) {
  Digest digest;
  digest.text("corpus 2");
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
  Preparation(const PrepareRequest& request, PrepareReport& report, std::vector<StageStatus>* survey = nullptr)
      : request_(request), report_(report) {
    context_.request = &request;
    context_.survey = survey;
    context_.workers =
        request.workers > 0 ? request.workers : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }

  /// The stages in their order.
  Status run(const std::vector<std::vector<ShardInfo>>& shards) {
    CONCLAVE_RETURN_IF_ERROR(read(shards));
    CONCLAVE_RETURN_IF_ERROR(filter());
    CONCLAVE_RETURN_IF_ERROR(train_tokenizer(context_, stages_.domains, stages_.selection));
    return tokenise();
  }
  /// What run() has opened; nothing is left here.
  PreparedStages take() { return std::move(stages_); }
  /// The corpus from what run() has made.
  Result<Stage> finish(const std::string& key) {
    const char* plugin = request_.tokenizer_id.c_str();
    CorpusParts parts;
    CONCLAVE_ASSIGN(parts.tokenizer_state, guard(plugin, "serialize", [&] { return request_.tokenizer->serialize(); }));
    CONCLAVE_ASSIGN(parts.special,
                    guard(plugin, "special_tokens", [&] { return request_.tokenizer->special_tokens(); }));
    CONCLAVE_ASSIGN(parts.vocabulary_size,
                    guard(plugin, "vocabulary_size", [&] { return request_.tokenizer->vocabulary_size(); }));
    parts.domains = std::move(stages_.gated);
    return make_whole(context_, "corpus", key, [&](const std::filesystem::path& directory) {
      return write_corpus(directory, request_, parts, report_);
    });
  }

 private:
  Status read(const std::vector<std::vector<ShardInfo>>& shards) {
    CONCLAVE_ASSIGN(stages_.domains, read_domains(context_, shards));
    for (std::size_t d = 0; d < stages_.domains.size(); ++d) {
      DomainSummary summary;
      summary.name = request_.domains[d].name;
      summary.shards = static_cast<std::int64_t>(stages_.domains[d].shards.size());
      summary.repaired_documents = stages_.domains[d].repaired_documents;
      add_counts(report_, source_row, summary.name, stages_.domains[d].tallies);
      if (stages_.domains[d].texts.size() == 0) return empty_domain(report_, summary.name);
      report_.domains.push_back(std::move(summary));
    }
    return {};
  }

  Status filter() {
    for (const FilterStage& stage : request_.filters) {
      FilterInstances& made = instances_.emplace_back();
      for (int w = 0; w < context_.workers; ++w) {
        CONCLAVE_ASSIGN(auto instance, guard(stage.id.c_str(), "create", stage.make));
        made.push_back(std::move(instance));
      }
    }
    context_.instances = &instances_;
    CONCLAVE_ASSIGN(stages_.columns, annotate_domains(context_, instances_, stages_.domains));
    CONCLAVE_ASSIGN(stages_.selection, select_documents(context_, instances_, stages_.domains, stages_.columns));
    for (std::size_t f = 0; f < request_.filters.size(); ++f)
      for (std::size_t d = 0; d < stages_.domains.size(); ++d)
        add_counts(report_, request_.filters[f].name, request_.domains[d].name, stages_.selection.tallies[f][d]);
    report_.dedup = stages_.selection.dedup;
    for (std::size_t d = 0; d < stages_.domains.size(); ++d)
      if (stages_.selection.documents(d).empty()) return empty_domain(report_, request_.domains[d].name);
    return {};
  }

  Status tokenise() {
    CONCLAVE_ASSIGN(const std::string digest, tokenizer_digest(request_));
    CONCLAVE_ASSIGN(stages_.tokenised, tokenise_domains(context_, stages_.domains, stages_.selection, digest));
    CONCLAVE_ASSIGN(stages_.gated, gate_domains(context_, stages_.domains, stages_.selection, stages_.tokenised));
    for (std::size_t d = 0; d < stages_.domains.size(); ++d) {
      add_counts(report_, length_row, request_.domains[d].name, stages_.gated[d].tallies);
      if (stages_.gated[d].stage.facts().at("train").at("documents") == 0)
        return empty_domain(report_, request_.domains[d].name);
    }
    return {};
  }

  const PrepareRequest& request_;
  PrepareReport& report_;
  StageContext context_;
  std::vector<FilterInstances> instances_;
  PreparedStages stages_;
};

} // namespace

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

Result<std::shared_ptr<const TokenStore>> prepare(const PrepareRequest& request, PrepareReport& report) {
  report = {};
  auto store = detail::call_without_throwing<std::shared_ptr<const TokenStore>>(
      [&]() -> Result<std::shared_ptr<const TokenStore>> {
        CONCLAVE_RETURN_IF_ERROR(check_request(request));
        CONCLAVE_ASSIGN(const auto shards, list_shards(request));
        CONCLAVE_ASSIGN(const std::string key, corpus_key(request, shards));
        CONCLAVE_ASSIGN(Stage corpus, Stage::find(request.cache, "corpus", key));
        const bool cached = corpus.complete();
        if (cached) {
          CONCLAVE_RETURN_IF_ERROR(corpus.adopt()); // clears what a process that was killed behind its commit left
          CONCLAVE_RETURN_IF_ERROR(restore_tokenizer(request, corpus.directory()));
        } else {
          Preparation preparation(request, report);
          CONCLAVE_RETURN_IF_ERROR(preparation.run(shards));
          CONCLAVE_ASSIGN(corpus, preparation.finish(key));
        }
        report = corpus_report(corpus.facts());
        report.cached = cached;
        return open_token_store(corpus.directory());
      });
  if (!store.ok()) return name_cache(store.error(), request.cache.string());
  return store;
}

Result<std::shared_ptr<const TokenStore>> find_prepared(const PrepareRequest& request, PrepareReport& report) {
  CONCLAVE_RETURN_IF_ERROR(check_request(request));
  CONCLAVE_ASSIGN(const auto shards, list_shards(request));
  CONCLAVE_ASSIGN(const std::string key, corpus_key(request, shards));
  CONCLAVE_ASSIGN(const Stage corpus, Stage::find(request.cache, "corpus", key));
  if (!corpus.complete())
    return invalid("this experiment's data is not prepared", "run `conclave prepare` with the same file and settings",
                   corpus.folder().string());
  CONCLAVE_RETURN_IF_ERROR(restore_tokenizer(request, corpus.directory()));
  report = corpus_report(corpus.facts());
  report.cached = true;
  return open_token_store(corpus.directory());
}

Result<PreparedStages> open_stages(const PrepareRequest& request, const std::vector<std::vector<ShardInfo>>& shards) {
  return detail::call_without_throwing<PreparedStages>([&]() -> Result<PreparedStages> {
    PrepareReport report;
    Preparation preparation(request, report);
    CONCLAVE_RETURN_IF_ERROR(preparation.run(shards));
    return preparation.take();
  });
}

Result<std::vector<StageStatus>> prepare_status(const PrepareRequest& request) {
  return detail::call_without_throwing<std::vector<StageStatus>>([&]() -> Result<std::vector<StageStatus>> {
    CONCLAVE_RETURN_IF_ERROR(check_request(request));
    CONCLAVE_ASSIGN(const auto shards, list_shards(request));
    CONCLAVE_ASSIGN(const std::string key, corpus_key(request, shards));
    std::vector<StageStatus> stages;
    PrepareReport report;
    const Status run = Preparation(request, report, &stages).run(shards);
    const bool unfinished =
        std::any_of(stages.begin(), stages.end(), [](const StageStatus& stage) { return !stage.complete; });
    if (!run.ok() && !unfinished) return run.error();
    CONCLAVE_ASSIGN(const Stage corpus, Stage::find(request.cache, "corpus", key));
    CONCLAVE_RETURN_IF_ERROR(look_at(corpus, "", 1, stages));
    return stages;
  });
}

} // namespace conclave::data
