// to_device(): one micro-batch of the loader as the tensors that a stage reads.
//
// On a GPU the copies leave pinned memory and do not block; the caching host allocator keeps that memory until they are
// done. Threading: the step thread.
#pragma once

#include "conclave/batch.hpp"
#include "conclave/status.hpp"
#include "data/loader.hpp"

namespace conclave::train {

/// Host-side counts of what a step holds, by domain; no device work.
struct DomainCounts {
  std::vector<std::int64_t> loss_tokens;
};

/// Checks the vectors' sizes against rows and length, and the domains against `domains`; a mismatch is Code::internal.
Status check_micro_batch(const data::HostMicroBatch& host, std::size_t domains);

/// Precondition: check_micro_batch() passed. The totals are the step's.
Batch to_device(const data::HostMicroBatch& host, at::Device device, std::int64_t global_loss_tokens,
                std::int64_t global_sequences);

/// Positions that count in the loss, by domain, over all micro-batches.
DomainCounts count_domains(const data::HostStep& step, std::size_t domains);

} // namespace conclave::train
