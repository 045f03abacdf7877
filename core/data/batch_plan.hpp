// BatchPlan: which samples make batch i, and their tokens.
//
// The plan is a pure function of the batch index: the same for any number of ranks, with no state to save. Domain shares
// are exact integers in every batch (floor plus at most one seat); the order within a domain is a Feistel permutation, new
// in each pass over it. Resuming needs the batch index alone.
//
// Training: every batch is full (drop_last). A domain's stream is endless, each pass a new permutation of the same
// samples, and what does not fill a sample at the end of a domain's tokens (windows: fewer than max_length + 1) is left out.
// A batch may span the end of one pass over a domain and the beginning of the next. A curriculum divides the run into
// stages, each with shares and a length of its own; the shares are exact within a stage, and passes go on from one to the
// next (sample_order.hpp).
//
// Held out: one pass gives every sample once. A domain whose samples are used up leaves its seats empty, so with one domain
// only the last batch has empty rows; what follows it is empty.
//
// Threading: BatchPlan is const; the rest are values.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "data/fill_in_middle.hpp"
#include "data/pack_table.hpp"
#include "data/token_store.hpp"
#include "data/weight_rule.hpp"

namespace conclave::data {

/// From batch `first` on, until the next stage. What it leaves out is as without a curriculum.
struct CurriculumStage {
  std::int64_t first = 0; ///< batch
  std::vector<double>
      shares; ///< by domain of the store, >= 0, one of them above 0; empty: those of the settings' weights
  /// 0: max_length. Windows: a divisor of it. Documents: up to it. Packs are of one length.
  std::int64_t length = 0;
};

struct PlanSettings {
  bool bucket = false;                    ///< each sample a document, padded; else sequences of max_length:
  std::shared_ptr<const PackTable> packs; ///< training, whole documents, as it says; null: windows of the stream
  bool document_attention = false;
  std::int64_t max_length = 2048; ///< S; a sample covers up to max_length + 1 tokens (inputs and shifted labels)
  std::int64_t bucket_step = 128;
  std::int64_t global_batch = 1; ///< sequences
  std::int64_t micro_batch = 1;  ///< sequences of one rank's micro-step
  int data_rank = 0, data_ranks = 1;
  std::uint64_t seed = 0;
  Split split = Split::train;
  int only_domain = -1; ///< evaluation of one domain
  WeightSettings weights;
  std::int64_t batches = 1;                ///< of the run; what unimax deals out
  std::vector<CurriculumStage> curriculum; ///< ascending by first
  FillInMiddle fill_in_middle;
};

/// Names a sample of the store: a domain, the pass over it, and the number among its samples of the batch's length
/// (samples.hpp).
struct SampleId {
  std::size_t domain = 0;
  std::int64_t pass = 0;
  std::int64_t sample = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 reads the 0 of a comparison category as a pointer
  friend auto operator<=>(const SampleId&, const SampleId&) = default;
};

/// What every rank knows of a step. Empty rows count nowhere.
struct StepTotals {
  std::int64_t batch_index = 0;
  std::int64_t global_loss_tokens = 0, global_sequences = 0;
  std::int64_t global_places = 0; ///< for inputs: rows times length of every micro-step of every rank, padding included
  std::vector<std::int64_t> domain_sequences; ///< of the global batch, for each domain of the store
  std::vector<std::int64_t> domain_tokens;    ///< inputs without padding
};

/// One micro-step of this data rank. Rows, length and `padded` are the same on every rank.
struct MicroStep {
  std::int64_t rows = 0, length = 0; ///< length: padded, of every row
  bool padded = false;               ///< a row of some rank is shorter than `length`, or empty
  std::vector<SampleId> samples;     ///< of the first rows; the rows behind them are empty
};

/// The step as ids. The ranks' samples of a micro-step, rank after rank, are a run of the global batch's order; that order
/// does not depend on ranks or micro-batch.
struct StepPlan : StepTotals {
  std::vector<MicroStep> micro_steps;
};

/// Host form of one micro-step: row-major [rows, length].
struct HostMicroBatch {
  std::int64_t rows = 0, length = 0;
  std::vector<std::int64_t> tokens, labels, position_ids;
  std::vector<std::uint8_t> loss_mask, token_mask; ///< token_mask is empty when there is no padding
  std::vector<std::int32_t> segment_ids;           ///< empty when attention spans the sequence
  std::vector<std::int64_t> domains;               ///< [rows]; an empty row repeats one of the plan's domains
};

struct HostStep : StepTotals {
  std::vector<HostMicroBatch> micro_batches;
};

/// A part of the run with shares and a length of its own; without a curriculum there is one.
struct PlanStage {
  std::int64_t first = 0; ///< batch
  std::int64_t length = 0;
  std::vector<double> shares; ///< by domain of the store; exactly what batches get
};

class BatchPlan {
 public:
  virtual ~BatchPlan() = default;
  /// The step of that batch index for this data rank; reads no token. Never fails for index >= 0 once made; held out and
  /// from batches() on it has no micro-step.
  [[nodiscard]] virtual StepPlan plan(std::int64_t batch_index) const = 0;
  /// plan(batch_index) with its tokens.
  [[nodiscard]] virtual HostStep build(std::int64_t batch_index) const = 0;
  /// The documents of the store that have tokens in a sample of that batch, in the order of their tokens.
  [[nodiscard]] virtual std::vector<std::int64_t> documents(std::int64_t batch_index, const SampleId& id) const = 0;
  /// Held out: batches of one pass, which give every sample once. Training has no end: the largest integer.
  [[nodiscard]] virtual std::int64_t batches() const = 0;
  /// Identifies the data order: a resume under another digest is refused.
  [[nodiscard]] virtual const std::string& digest() const = 0;
  [[nodiscard]] virtual std::vector<PlanStage> stages() const = 0;
  /// How often each domain of the store is gone over by the end of the first `batches` batches.
  [[nodiscard]] virtual std::vector<double> passes(std::int64_t batches) const = 0;
};

/// A domain smaller than one sample, and a batch that is no multiple of micro_batch x data_ranks, are errors that show the
/// arithmetic; for training also a corpus smaller than one batch and a domain smaller than its seats in one. A curriculum
/// that breaks its rules is an error that names the stage.
Result<std::shared_ptr<const BatchPlan>> make_batch_plan(std::shared_ptr<const TokenStore> store,
                                                         const PlanSettings& settings);

} // namespace conclave::data
