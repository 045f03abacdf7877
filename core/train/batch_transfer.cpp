// Host vectors to device tensors.

#include "train/batch_transfer.hpp"

#include <ATen/ops/empty.h>

#include <cstring>

namespace conclave::train {
namespace {

template <class T>
at::Tensor upload(std::initializer_list<const std::vector<T>*> parts, std::vector<std::int64_t> part_shape,
                  at::ScalarType type, at::Device device) {
  part_shape.insert(part_shape.begin(), static_cast<std::int64_t>(parts.size()));
  const at::Tensor host = at::empty(part_shape, at::TensorOptions().dtype(type).pinned_memory(device.is_cuda()));
  auto* out = static_cast<char*>(host.mutable_data_ptr());
  for (const std::vector<T>* part : parts) {
    if (!part->empty()) std::memcpy(out, part->data(), part->size() * sizeof(T));
    out += part->size() * sizeof(T);
  }
  return device.is_cuda() ? host.to(device, type, /*non_blocking=*/true) : host;
}

} // namespace

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

Batch to_device(const data::HostMicroBatch& host, at::Device device, std::int64_t global_loss_tokens,
                std::int64_t global_sequences) {
  static_assert(sizeof(bool) == sizeof(std::uint8_t));
  const std::vector<std::int64_t> shape = {host.rows, host.length};
  Batch batch;
  const at::Tensor ids =
      upload<std::int64_t>({&host.tokens, &host.labels, &host.position_ids}, shape, at::kLong, device);
  batch.tokens = ids.select(0, 0);
  batch.labels = ids.select(0, 1);
  batch.position_ids = ids.select(0, 2);
  batch.loss_mask = upload<std::uint8_t>({&host.loss_mask}, shape, at::kBool, device).select(0, 0);
  if (!host.token_mask.empty())
    batch.token_mask = upload<std::uint8_t>({&host.token_mask}, shape, at::kBool, device).select(0, 0);
  if (!host.segment_ids.empty())
    batch.segment_ids = upload<std::int32_t>({&host.segment_ids}, shape, at::kInt, device).select(0, 0);
  batch.domains = upload<std::int64_t>({&host.domains}, {host.rows}, at::kLong, device).select(0, 0);
  batch.global_loss_tokens = global_loss_tokens;
  batch.global_sequences = global_sequences;
  return batch;
}

DomainCounts count_domains(const data::HostStep& step, std::size_t domains) {
  DomainCounts counts{std::vector<std::int64_t>(domains, 0)};
  for (const data::HostMicroBatch& micro : step.micro_batches) {
    for (std::int64_t row = 0; row < micro.rows; ++row) {
      const std::uint8_t* mask = micro.loss_mask.data() + row * micro.length;
      std::int64_t tokens = 0;
      for (std::int64_t i = 0; i < micro.length; ++i) tokens += mask[i] != 0;
      counts.loss_tokens[static_cast<std::size_t>(micro.domains[static_cast<std::size_t>(row)])] += tokens;
    }
  }
  return counts;
}

} // namespace conclave::train
