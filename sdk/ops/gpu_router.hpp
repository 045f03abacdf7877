// Private: route with our CUDA kernels.
#pragma once

#include <optional>

#include "conclave/ops/router.hpp"

namespace conclave::ops {

/// route(), where the kernels take these inputs; else nothing.
std::optional<Routing> route_on_gpu(const at::Tensor& logits, const at::Tensor& selection_bias,
                                    const at::Tensor& token_mask, std::int64_t sequences, const RouterOptions& options,
                                    const at::Tensor& previous_load);

} // namespace conclave::ops
