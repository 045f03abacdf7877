// BatchPlan and Loader: which samples make batch i, and their tokens, ahead of time.
//
// The plan is a pure function of the batch index: the same for any number of ranks, with no state to save. Domain shares
// are exact integers in every batch (floor plus at most one seat); the order within a domain is a Feistel permutation, new
// in each pass over it. Resuming needs the batch index alone.
//
// Every batch is full (drop_last): a domain's stream is endless, each epoch a new permutation of the same samples, and what
// does not fill a sample at the end of a domain's tokens (packed: fewer than max_length + 1) is left out. A batch may span
// the end of one epoch of a domain and the beginning of the next.
//
// Threading: BatchPlan is const. A Loader owns its worker threads and hands out steps in order to one consumer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "data/token_store.hpp"

namespace conclave::data {

struct PlanSettings {
  bool bucket = false; ///< else packed sequences of max_length
  bool document_attention = false;
  std::int64_t max_length = 2048; ///< S; a packed sample covers max_length + 1 tokens (inputs and shifted labels)
  std::int64_t bucket_step = 128;
  std::int64_t global_batch = 1; ///< sequences
  std::int64_t micro_batch = 1;  ///< sequences of one rank's micro-step
  int data_rank = 0, data_ranks = 1;
  std::uint64_t seed = 0;
  Split split = Split::train;
  int only_domain = -1; ///< evaluation of one domain
};

/// Host form of one micro-step: row-major [rows, length].
struct HostMicroBatch {
  std::int64_t rows = 0, length = 0;
  std::vector<std::int64_t> tokens, labels, position_ids;
  std::vector<std::uint8_t> loss_mask, token_mask; ///< token_mask is empty when there is no padding
  std::vector<std::int32_t> segment_ids;           ///< empty when attention spans the sequence
  std::vector<std::int64_t> domains;               ///< [rows]
};

struct HostStep {
  std::int64_t batch_index = 0;
  std::vector<HostMicroBatch> micro_batches;
  std::int64_t global_loss_tokens = 0, global_sequences = 0;
  std::vector<std::int64_t> domain_sequences; ///< of the global batch, for each domain of the store
  std::vector<std::int64_t> domain_tokens;    ///< inputs without padding
};

class BatchPlan {
 public:
  virtual ~BatchPlan() = default;
  /// The step of that batch index for this data rank. Never fails for index >= 0 once made.
  [[nodiscard]] virtual HostStep build(std::int64_t batch_index) const = 0;
  /// Identifies the data order: a resume under another digest is refused.
  [[nodiscard]] virtual const std::string& digest() const = 0;
  /// Passes over a domain of the store that the first `batches` batches make.
  [[nodiscard]] virtual double epochs(std::int64_t batches, std::size_t domain) const = 0;
  /// Samples in one pass over a domain of the store; 0 when the plan leaves it out.
  [[nodiscard]] virtual std::int64_t samples(std::size_t domain) const = 0;
};

/// A corpus smaller than one batch, a domain smaller than its seats in one batch, and a batch that is no multiple of
/// micro_batch x data_ranks are errors that show the arithmetic. A held-out split only needs one sample a domain: its
/// batches go round when they run out.
Result<std::shared_ptr<const BatchPlan>> make_batch_plan(std::shared_ptr<const TokenStore> store,
                                                         const PlanSettings& settings);

class Loader {
 public:
  virtual ~Loader() = default; ///< joins the workers
  /// The next step in order; blocks until it is there.
  virtual Result<HostStep> next() = 0;
};

/// Starts at batch `first` and keeps up to `ahead` steps ready or under way. workers = 0: steps are built in next().
std::unique_ptr<Loader> make_loader(std::shared_ptr<const BatchPlan> plan, std::int64_t first, int workers, int ahead);

} // namespace conclave::data
