// operator_backends: which implementation each operator takes on a device and type, for a run's record.
//
// What this is: words for people who compare runs of two machines. What this is not: a switch; each operator decides for
// itself from its tensors, by the rules that are told here.
#pragma once

#include <c10/core/ScalarType.h>

#include <string>
#include <utility>
#include <vector>

#include "conclave/host.hpp"

namespace conclave::ops {

/// {operator, implementation}, in a fixed order; `compute` is the type of activations.
std::vector<std::pair<std::string, std::string>> operator_backends(const Device& device, c10::ScalarType compute);

} // namespace conclave::ops
