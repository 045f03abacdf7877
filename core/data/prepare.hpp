// prepare(): raw text of the domains to token shards on disk, in stages whose outputs are cached by content.
//
//   source -> annotate -> select (with deduplication) -> (train the tokenizer) -> tokenise -> length gate -> token shards
//
// What this is: idempotent and restartable; each stage's folder is keyed by its inputs' digests, so a changed threshold
// runs again from select on. What this is not: batches (batch_plan.hpp) or their loading (loader.hpp).
//
// Several processes on several machines may do it together over one file system (stage.hpp, units.hpp).
//
// Threading: called on the main thread; uses `workers` threads of its own and joins them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "conclave/filter.hpp"
#include "conclave/source.hpp"
#include "conclave/status.hpp"
#include "conclave/tokenizer.hpp"
#include "data/report.hpp"
#include "data/stage.hpp"
#include "data/token_store.hpp"

namespace conclave::data {

/// One filter of the chain: a factory (one instance a worker) and what keys its cache.
struct FilterStage {
  std::string name, id;
  std::function<Result<std::shared_ptr<Filter>>()> make;
  std::string annotate_key; ///< id, revision and numerics options
  std::string select_key;   ///< the same and selection options
  std::vector<bool> skips;  ///< by domain: this filter leaves it alone; empty: it sees every domain
  [[nodiscard]] bool sees(std::size_t domain) const { return skips.empty() || !skips[domain]; }
  /// Everything that decides what it takes away.
  [[nodiscard]] std::string key() const {
    std::string key = annotate_key + "\n" + select_key;
    for (std::size_t d = 0; d < skips.size(); ++d)
      if (skips[d]) key += "\nskips " + std::to_string(d);
    return key;
  }
};

struct DomainInput {
  std::string name;
  double share = 1;
  std::string source_id;
  std::shared_ptr<Source> source;
  std::string source_key; ///< id, revision and numerics options
};

/// No seed: runs of one experiment that differ in it share text, tokenizer and held-out documents.
struct PrepareRequest {
  std::vector<DomainInput> domains;
  std::vector<FilterStage> filters;
  std::shared_ptr<Tokenizer> tokenizer; ///< trained or loaded by prepare when needs_training()
  std::string tokenizer_id, tokenizer_key;
  std::int64_t min_tokens = 1, max_tokens = 2048;
  int too_long = 0; ///< 0 drop, 1 split, 2 truncate
  double held_out = 0.01;
  std::int64_t tokenizer_sample_bytes = 0; ///< 0 = all training text
  bool drop_invalid_utf8 = false;
  std::filesystem::path cache;
  int workers = 1; ///< 0 = all cores; the result is the same for any number
  std::int64_t memory =
      std::int64_t{1} << 30; ///< bytes for what is sorted at once; the result is the same for any number
  Task task; ///< several make a cache together, each called as one of them; the result is the same for any number
  std::stop_token stop;
  /// Called now and then from the main thread: stage, done, total (0 = unknown), unit. May be empty.
  std::function<void(const char* stage, std::int64_t done, std::int64_t total, const char* unit)> progress;
  /// Told on the main thread what a user should read at once: that another process or task is waited for. May be empty.
  std::function<void(const std::string& text)> notice;
};

/// The same, but only where it is prepared already; it leaves the tokenizer ready, too. Nothing is made.
Result<std::shared_ptr<const TokenStore>> find_prepared(const PrepareRequest& request, PrepareReport& report);

/// What is there of one stage's folder.
struct StageStatus {
  std::string stage;   ///< `read`, `annotate`, `select`, `tokenizer`, `tokens`, `gated`, `corpus`
  std::string subject; ///< a domain, or `<filter> of <domain>`; empty: all domains together
  std::filesystem::path folder;
  bool complete = false;
  std::size_t units = 0, units_done = 0; ///< where it is not complete; a stage that is not cut has one
  std::string holder;                    ///< the process alone that makes it; empty: none
  std::vector<std::string> claims;       ///< of tasks, at work or killed: `unit-00003 of task-1-of-8.<host>.<process>`
};
/// Looks and makes nothing. Stages come in their order up to the first that is not complete, since what the next ones need
/// follows from it; then the corpus itself.
Result<std::vector<StageStatus>> prepare_status(const PrepareRequest& request);

/// An empty corpus, or a domain without one document left, is an error that names the domain and the filter that took most.
Result<std::shared_ptr<const TokenStore>> prepare(const PrepareRequest& request, PrepareReport& report);

} // namespace conclave::data
