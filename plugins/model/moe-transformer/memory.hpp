// What the activations of a chunk take on a GPU.
//
// What this is: for each part of a chunk the tensors that autograd keeps for it, and the most that its forward and
// backward pass hold beside them, counted from the operators as a GPU runs them (bf16 or fp16; our kernels,
// attention that keeps no scores). What this is not: measured; and it leaves out masks of several documents in a
// sequence and unevenly chosen experts.
#pragma once

#include <cstdint>

#include "conclave/model.hpp"
#include "options.hpp"

namespace conclave::moe_transformer {

/// Stage::activation_bytes of the chunk that the request asks for.
ActivationBytes activation_bytes(const Config& config, const StageRequest& request, std::int64_t rows,
                                 std::int64_t length);

} // namespace conclave::moe_transformer
