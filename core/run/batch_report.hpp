// What a user reads of the order of the batches before the first step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/batch_plan.hpp"

namespace conclave {

/// The order of `steps` batches as lines: the stages of a curriculum with their shares, how often each domain is gone over,
/// and a hint where that is often.
std::vector<std::string> describe_batches(const data::BatchPlan& plan, const data::TokenStore& store,
                                          std::int64_t steps);

} // namespace conclave
