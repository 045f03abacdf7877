// From the loader's micro-batches to the tensors that a stage reads.
//
// On a GPU the copies leave pinned memory and do not block; the caching host allocator keeps that memory until they are
// done. Threading: the step thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "conclave/batch.hpp"
#include "conclave/status.hpp"
#include "data/batch_plan.hpp"

namespace conclave::train {

/// Checks that there is a micro-batch, the columns' sizes against rows and length, and the domains against `domains`; a
/// mismatch is Code::internal. Precondition of everything below.
Status check_step(const data::HostStep& step, std::size_t domains);

/// Names the shape of a micro-batch, and which optional columns it has.
std::string shape_key(const data::HostMicroBatch& micro_batch);

/// One micro-batch in tensors of its own. The totals are the step's.
Batch to_device(const data::HostMicroBatch& host, at::Device device, std::int64_t global_loss_tokens,
                std::int64_t global_sequences);

/// Batch tensors that persist: the content of one is valid until its place is filled again, the addresses for good.
class BatchBuffers {
 public:
  explicit BatchBuffers(at::Device device) : device_(device) {}
  /// One batch for each micro-batch, in order. The n-th of a shape within a step always lies in the same tensors, whatever else
  /// the step holds: as many are kept as one step needed at most of each shape.
  std::vector<const Batch*> fill(const data::HostStep& step);
  /// The step's n-th micro-batch alone, in the first tensors of its shape. The copy comes after the work that was enqueued.
  const Batch* fill_one(const data::HostStep& step, std::size_t n);

 private:
  /// Into the n-th tensors of its shape.
  const Batch* place(const data::HostMicroBatch& micro_batch, std::size_t n, const data::HostStep& step);

  at::Device device_;
  std::map<std::string, std::deque<Batch>> by_shape_; // deques: addresses stay
};

/// Positions that count in the loss, by domain, over all micro-batches. Host work only.
std::vector<std::int64_t> count_loss_tokens(const data::HostStep& step, std::size_t domains);

} // namespace conclave::train
