// The stages of prepare(), in the order in which they run. Each finds its output in the cache or makes it.
//
//   read       per domain            source -> TextStore
//   annotate   per domain, filter    TextStore -> ColumnStore
//   select     all domains           columns -> kept documents, counts (thresholds and deduplication)
//   tokenizer  all domains           sample of the kept training texts, edited -> the tokenizer's state
//   tokenise   per domain            kept texts, edited (edits.hpp) -> token ids
//   gate       per domain            token ids -> split and length-gated documents
//
// What this is: the seams between the stages. What this is not: the order of the calls and the final store (prepare.cpp);
// how a stage is shared out (units.hpp).
//
// Threading: each is called on the main thread and uses `workers` threads of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/column_store.hpp"
#include "data/prepare.hpp"
#include "data/stage.hpp"
#include "data/text_store.hpp"

namespace conclave::data {

/// One instance of a filter a worker.
using FilterInstances = std::vector<std::shared_ptr<Filter>>;

/// What every stage needs of the request.
struct StageContext {
  const PrepareRequest* request = nullptr;
  int workers = 1; ///< resolved: at least 1
  /// Of the request's filters; null: none are made yet.
  const std::vector<FilterInstances>* instances = nullptr;
  /// Where it is given, nothing is made: stages are listed here, and the first that is not complete ends it with an error.
  std::vector<StageStatus>* survey = nullptr;
  [[nodiscard]] Result<Stage> open(const char* name, const std::string& key) const;
  /// Reports progress at most a few times a second.
  void progress(const char* stage, std::int64_t done, std::int64_t total, const char* unit) const;

 private:
  mutable std::int64_t last_progress_ms_ = 0;
  mutable const char* last_stage_ = nullptr;
};

/// Documents and their UTF-8 bytes.
struct Tally {
  std::int64_t documents = 0, bytes = 0;
  void add(std::int64_t size) {
    ++documents;
    bytes += size;
  }
  Tally& operator+=(const Tally& other) {
    documents += other.documents;
    bytes += other.bytes;
    return *this;
  }
};
/// By reason; "" counts what was kept.
using Tallies = std::map<std::string, Tally>;

nlohmann::json to_json(const Tallies& tallies);
Tallies tallies_from_json(const nlohmann::json& json);
nlohmann::json to_json(const DedupSummary& summary);
DedupSummary dedup_from_json(const nlohmann::json& json);

// ---- read ----

struct ReadDomain {
  std::string key;
  TextStore texts;
  Tallies tallies;                   ///< "", "invalid-utf8", "unreadable-record" (its bytes are unknown: 0)
  std::span<const ShardInfo> shards; ///< of the list given to read_domains()
  std::int64_t repaired_documents = 0;
};
/// Input digest of a domain: its source and every shard.
std::string source_digest(const DomainInput& domain, const std::vector<ShardInfo>& shards, bool drop_invalid_utf8);
/// shards[domain], none of them empty.
Result<std::vector<ReadDomain>> read_domains(const StageContext& context,
                                             const std::vector<std::vector<ShardInfo>>& shards);

// ---- annotate ----

/// [filter][domain]; empty where the filter does not see the domain or has no column.
Result<std::vector<std::vector<ColumnStore>>> annotate_domains(const StageContext& context,
                                                               const std::vector<FilterInstances>& instances,
                                                               const std::vector<ReadDomain>& domains);

// ---- select ----

struct Selection {
  std::vector<MappedFile> kept;              ///< per domain: ordinals of the kept documents, ascending, u64
  std::vector<std::string> digests;          ///< per domain: of that list
  std::vector<std::vector<Tallies>> tallies; ///< [filter][domain]
  std::vector<DedupSummary> dedup;           ///< of each filter that compares documents
  /// [filter][domain]: by reason a few of the documents that it dropped (drop_sample.hpp).
  std::vector<std::vector<std::map<std::string, std::vector<std::uint64_t>>>> samples;
  [[nodiscard]] std::span<const std::uint64_t> documents(std::size_t domain) const {
    return kept[domain].as<std::uint64_t>();
  }
};
/// columns[filter][domain].
Result<Selection> select_documents(const StageContext& context, const std::vector<FilterInstances>& instances,
                                   const std::vector<ReadDomain>& domains,
                                   const std::vector<std::vector<ColumnStore>>& columns);

// ---- held-out split ----

/// True for about `fraction` of all texts, by their hash alone: the same for every seed, so that runs stay comparable.
bool is_held_out(std::uint64_t text_hash, double fraction) noexcept;

// ---- tokenizer ----

/// Trains request.tokenizer, or loads its trained state from the cache. Does nothing when it needs no training.
Status train_tokenizer(const StageContext& context, const std::vector<ReadDomain>& domains, const Selection& selection);

// ---- tokenise ----

struct TokenisedDomain {
  std::string key;
  MappedFile tokens, lengths; ///< u16 or i32 ids back to back; u32 count of ids per kept document
};
/// Bytes of one stored token id: 2 where the vocabulary fits, else 4.
int token_width(std::int32_t vocabulary_size) noexcept;
Result<std::vector<TokenisedDomain>> tokenise_domains(const StageContext& context,
                                                      const std::vector<ReadDomain>& domains,
                                                      const Selection& selection, const std::string& tokenizer_digest);

// ---- gate ----

struct GatedDomain {
  Stage stage; ///< complete; its facts hold the counts of each split
  Tallies tallies;
};
Result<std::vector<GatedDomain>> gate_domains(const StageContext& context, const std::vector<ReadDomain>& domains,
                                              const Selection& selection,
                                              const std::vector<TokenisedDomain>& tokenised);

// ---- all of them ----

/// What the stages made, open, for those who look into it.
struct PreparedStages {
  std::vector<ReadDomain> domains;
  std::vector<std::vector<ColumnStore>> columns; ///< [filter][domain]
  Selection selection;
  std::vector<TokenisedDomain> tokenised;
  std::vector<GatedDomain> gated;
};
/// Each domain's shards; a domain without one is an error.
Result<std::vector<std::vector<ShardInfo>>> list_shards(const PrepareRequest& request);
/// Runs the stages up to the gate, which finds them where they are made. `shards`, from list_shards(), outlives the result.
Result<PreparedStages> open_stages(const PrepareRequest& request, const std::vector<std::vector<ShardInfo>>& shards);

} // namespace conclave::data
