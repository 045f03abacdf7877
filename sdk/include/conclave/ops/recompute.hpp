// recompute: runs a part of a network without keeping its activations, and runs it again in the backward pass.
//
// The part must be deterministic and draw no random numbers; then gradients equal those without recompute bit for bit on
// CPU. Parameters reached through sinks or as leaves get their gradients inside the nested backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace conclave::ops {

/// A part of a network: input -> outputs. `again` is false in the forward pass and true when run for the backward pass,
/// so that statistics are counted once.
using RecomputedPart = std::function<std::vector<at::Tensor>(const at::Tensor& input, bool again)>;

/// The part's outputs, differentiable. Everything that `part` refers to must live until the backward pass is over.
std::vector<at::Tensor> recompute(RecomputedPart part, const at::Tensor& input);

} // namespace conclave::ops
