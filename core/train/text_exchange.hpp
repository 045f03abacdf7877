// exchange_texts: what every rank of a group has to say, before a run's first step.
//
// Through the group's own collectives, so that nothing beside a Group is needed; not for use in a step.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "conclave/parallel/group.hpp"

namespace conclave::train {

/// Every rank's text in the order of the group's ranks. Collective. Null: one rank.
std::vector<std::string> exchange_texts(Group* group, const std::string& text, at::Device device);

} // namespace conclave::train
