// Host vectors to device tensors.

#include "train/batch_transfer.hpp"

#include <ATen/ops/empty.h>

#include <cstring>

namespace conclave::train {
namespace {

Status check_micro_batch(const data::HostMicroBatch& host, std::size_t domains) {
  const auto cells = static_cast<std::size_t>(host.rows * host.length);
  auto wrong = [&](std::size_t size, bool optional) { return size != cells && !(optional && size == 0); };
  if (host.rows <= 0 || host.length <= 0 || wrong(host.tokens.size(), false) || wrong(host.labels.size(), false) ||
      wrong(host.position_ids.size(), false) || wrong(host.loss_mask.size(), false) ||
      wrong(host.token_mask.size(), true) || wrong(host.segment_ids.size(), true) ||
      host.domains.size() != static_cast<std::size_t>(host.rows))
    return internal_error("a micro-batch of " + std::to_string(host.rows) + " x " + std::to_string(host.length) +
                          " tokens has columns of other sizes");
  for (const std::int64_t domain : host.domains)
    if (domain < 0 || static_cast<std::size_t>(domain) >= domains)
      return internal_error("a sequence names domain " + std::to_string(domain) + " of " + std::to_string(domains));
  return {};
}

Batch allocate_batch(const data::HostMicroBatch& like, at::Device device) {
  auto empty = [&](at::IntArrayRef shape, at::ScalarType type) {
    return at::empty(shape, at::TensorOptions().device(device).dtype(type));
  };
  const std::vector<std::int64_t> shape = {like.rows, like.length};
  Batch batch;
  batch.tokens = empty(shape, at::kLong);
  batch.labels = empty(shape, at::kLong);
  batch.loss_mask = empty(shape, at::kBool);
  if (!like.token_mask.empty()) batch.token_mask = empty(shape, at::kBool);
  batch.position_ids = empty(shape, at::kLong);
  if (!like.segment_ids.empty()) batch.segment_ids = empty(shape, at::kInt);
  batch.domains = empty({like.rows}, at::kLong);
  return batch;
}

/// `to` is contiguous and has as many elements, of the same size; an absent column has none, and no tensor.
template <class T>
void copy_column(const std::vector<T>& from, const at::Tensor& to) {
  if (from.empty()) return;
  if (to.is_cpu()) {
    std::memcpy(to.mutable_data_ptr(), from.data(), from.size() * sizeof(T));
    return;
  }
  const at::Tensor staged =
      at::empty(to.sizes(), at::TensorOptions().dtype(to.scalar_type()).pinned_memory(to.is_cuda()));
  std::memcpy(staged.mutable_data_ptr(), from.data(), from.size() * sizeof(T));
  to.copy_(staged, /*non_blocking=*/true);
}

void copy_batch(const data::HostMicroBatch& host, std::int64_t global_loss_tokens, std::int64_t global_sequences,
                Batch& batch) {
  static_assert(sizeof(bool) == sizeof(std::uint8_t));
  copy_column(host.tokens, batch.tokens);
  copy_column(host.labels, batch.labels);
  copy_column(host.loss_mask, batch.loss_mask);
  copy_column(host.token_mask, batch.token_mask);
  copy_column(host.position_ids, batch.position_ids);
  copy_column(host.segment_ids, batch.segment_ids);
  copy_column(host.domains, batch.domains);
  batch.global_loss_tokens = global_loss_tokens;
  batch.global_sequences = global_sequences;
}

} // namespace

Status check_step(const data::HostStep& step, std::size_t domains) {
  if (step.micro_batches.empty())
    return internal_error("step " + std::to_string(step.batch_index) + " has no micro-batch");
  for (const data::HostMicroBatch& micro : step.micro_batches)
    CONCLAVE_RETURN_IF_ERROR(check_micro_batch(micro, domains));
  return {};
}

std::string shape_key(const data::HostMicroBatch& micro_batch) {
  return std::to_string(micro_batch.rows) + "x" + std::to_string(micro_batch.length) +
         (micro_batch.token_mask.empty() ? "" : "m") + (micro_batch.segment_ids.empty() ? "" : "s");
}

Batch to_device(const data::HostMicroBatch& host, at::Device device, std::int64_t global_loss_tokens,
                std::int64_t global_sequences) {
  Batch batch = allocate_batch(host, device);
  copy_batch(host, global_loss_tokens, global_sequences, batch);
  return batch;
}

const Batch* BatchBuffers::place(const data::HostMicroBatch& micro_batch, std::size_t n, const data::HostStep& step) {
  std::deque<Batch>& alike = by_shape_[shape_key(micro_batch)];
  if (n == alike.size()) alike.push_back(allocate_batch(micro_batch, device_));
  copy_batch(micro_batch, step.global_loss_tokens, step.global_sequences, alike[n]);
  return &alike[n];
}

std::vector<const Batch*> BatchBuffers::fill(const data::HostStep& step) {
  std::map<std::string, std::size_t> used;
  std::vector<const Batch*> batches;
  for (const data::HostMicroBatch& micro : step.micro_batches)
    batches.push_back(place(micro, used[shape_key(micro)]++, step));
  return batches;
}

const Batch* BatchBuffers::fill_one(const data::HostStep& step, std::size_t n) {
  return place(step.micro_batches[n], 0, step);
}

std::vector<std::int64_t> count_loss_tokens(const data::HostStep& step, std::size_t domains) {
  std::vector<std::int64_t> counts(domains, 0);
  for (const data::HostMicroBatch& micro : step.micro_batches) {
    for (std::int64_t row = 0; row < micro.rows; ++row) {
      const std::uint8_t* mask = micro.loss_mask.data() + row * micro.length;
      std::int64_t tokens = 0;
      for (std::int64_t i = 0; i < micro.length; ++i) tokens += mask[i] != 0;
      counts[static_cast<std::size_t>(micro.domains[static_cast<std::size_t>(row)])] += tokens;
    }
  }
  return counts;
}

} // namespace conclave::train
