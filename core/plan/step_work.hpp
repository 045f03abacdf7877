// The work of a training step as the model describes it, for step_time(). Within core/plan.
#pragma once

#include "plan/stages.hpp"
#include "plan/step_time.hpp"

namespace conclave::plan {

/// Code::unsupported where the model does not say what its stages compute.
Result<StepWork> step_work(const Subject& subject, const PlannedLayout& layout);

} // namespace conclave::plan
