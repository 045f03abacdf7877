// Snapshots with known values, for tests of checkpoints and for the program that the kill test kills.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/store.hpp"

namespace conclave::checkpoint_test {

inline TensorShard whole(std::string name, at::Tensor value) {
  TensorShard shard;
  shard.name = std::move(name);
  shard.global_shape = value.sizes().vec();
  shard.offset.assign(shard.global_shape.size(), 0);
  shard.value = std::move(value);
  return shard;
}

inline TensorShard box(std::string name, std::vector<std::int64_t> global_shape, std::vector<std::int64_t> offset,
                       at::Tensor value) {
  return {std::move(name), std::move(global_shape), std::move(offset), std::move(value)};
}

/// Values that depend on the step, so that a mixed-up checkpoint shows.
inline Snapshot snapshot_of(std::int64_t step, std::int64_t rows = 64) {
  Snapshot snapshot;
  snapshot.step = step;
  const auto ramp =
      at::arange(rows * 32, at::TensorOptions().dtype(at::kFloat)).view({rows, 32}).add(static_cast<double>(step));
  snapshot.tensors.push_back(whole("model.embed.weight", ramp));
  snapshot.tensors.push_back(
      whole("model.norm.weight", at::full({32}, static_cast<double>(step), at::TensorOptions().dtype(at::kBFloat16))));
  snapshot.tensors.push_back(whole("optimizer/exp_avg/model.embed.weight", ramp.mul(0.5)));
  snapshot.tensors.push_back(whole("counter", at::full({}, step, at::TensorOptions().dtype(at::kLong))));
  snapshot.states["host"]["loss_scale"] = 65536.0;
  snapshot.states["host"]["optimizer_step"] = step;
  snapshot.meta_json = R"({"config_hash":"abc"})";
  snapshot.files["resolved.yaml"] = "name: test\n";
  return snapshot;
}

} // namespace conclave::checkpoint_test
