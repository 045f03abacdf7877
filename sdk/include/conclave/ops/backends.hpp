// Which implementation the operators take: the choice of a process, and words for a run's record.
//
// Each operator decides for itself from its tensors, by the rules that operator_backends() tells. The one choice there is: our
// kernels, or LibTorch's operators everywhere, to see whether a kernel is to blame for what a run does.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>
#include <utility>
#include <vector>

#include "conclave/host.hpp"

namespace conclave::ops {

/// `fused`: our kernels where they serve, as is the case before this is called. `reference`: LibTorch's operators, which compute
/// the same with other roundings, slower and in more memory.
enum class Operators { fused, reference };

/// For the whole process, as operators hold no host. Call it while no operator runs; gradients of what ran before are undefined.
void use_operators(Operators operators);

/// {operator, implementation}, in a fixed order; `compute` is the type of activations.
std::vector<std::pair<std::string, std::string>> operator_backends(const Device& device, c10::ScalarType compute);

} // namespace conclave::ops
