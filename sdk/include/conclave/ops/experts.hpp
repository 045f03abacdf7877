// Mixture of SwiGLU experts without capacity: every token reaches its experts, none is dropped or padded.
//
// Rows are sorted by expert, multiplied group by group, and gathered back by reduction over each token's choices: no
// atomics on floating numbers, so results do not depend on threads. On a GPU in bf16 and fp16 offsets stay on the device (no host
// sync); in fp32, or without our CUDA kernels on other than Hopper in bf16, ATen's grouped product copies them to the host.
#pragma once

#include <ATen/core/Tensor.h>

#include "conclave/param.hpp"

namespace conclave::ops {

/// y_t = addend_t + sum_k weights[t, k] * down_e (silu(gate_e x_t) * (up_e x_t)), e = experts[t, k].
///
/// x [T, D]; weights [T, K] in the accumulation type; experts [T, K] int64, distinct in a row; gate_up [E, 2F, D] (gate
/// rows first); down [E, D, F]; addend [T, D] or undefined -> [T, D].
at::Tensor swiglu_experts(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& experts,
                          const BoundParam& gate_up, const BoundParam& down, const at::Tensor& addend = {});

/// One dense SwiGLU layer: addend + down (silu(gate x) * (up x)). x [..., D], gate_up [2F, D], down [D, F].
at::Tensor swiglu(const at::Tensor& x, const BoundParam& gate_up, const BoundParam& down,
                  const at::Tensor& addend = {});

} // namespace conclave::ops
