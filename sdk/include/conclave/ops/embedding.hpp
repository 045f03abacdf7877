// embedding: rows of a table by token id.
//
// The gradient is a sum over tokens in token order for each row, so it does not depend on threads.
#pragma once

#include <ATen/core/Tensor.h>

#include "conclave/param.hpp"

namespace conclave::ops {

/// tokens [B, S] int64 in [0, V), table [V, D] -> [B, S, D].
at::Tensor embedding(const at::Tensor& tokens, const BoundParam& table);

} // namespace conclave::ops
