// Private: attention with our CUDA kernels.
#pragma once

#include <optional>

#include "conclave/ops/attention.hpp"

namespace conclave::ops {

/// Fills mask.spans and mask.slots, where attention_on_gpu() takes segments of activations like this one. False: it does not.
bool find_segments_on_gpu(const at::Tensor& like, AttentionMask& mask);

/// attention(), where the kernels take these inputs; else nothing.
std::optional<at::Tensor> attention_on_gpu(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                           const AttentionMask& mask);

} // namespace conclave::ops
