// RunStage: a part of the run with shares and a length of its own, as a curriculum divides it; without one there is one stage.
//
// What this is: from a plan's settings and the store to what a batch of a stage is drawn from. What this is not: the batches
// (batch_plan.cpp).
//
// Threading: const.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "data/batch_plan.hpp"
#include "data/domain_schedule.hpp"
#include "data/sample_order.hpp"
#include "data/samples.hpp"

namespace conclave::data {

/// Its vectors are by domain of the plan.
struct RunStage {
  std::int64_t first = 0; ///< batch
  std::int64_t length = 0;
  DomainSchedule schedule;
  std::vector<DomainSamples> samples;
  std::vector<SampleOrder> orders;
};

/// "1 token", "2 tokens".
std::string counted(std::int64_t n, const char* what);

/// What a curriculum must keep to (CurriculumStage); an error names the stage.
Status check_curriculum(const TokenStore& store, const PlanSettings& settings);

/// The stages in their order, the first from batch 0 on; their schedules begin anew, their orders go on. `domains`: those of the
/// store that the plan draws from; `windows`: samples of max_length in one pass over each, at least 1. The store outlives them.
std::vector<RunStage> make_run_stages(const TokenStore& store, const PlanSettings& settings,
                                      const std::vector<std::size_t>& domains,
                                      const std::vector<std::int64_t>& windows);

/// For training: that no batch of the stage takes a sample twice from one pass, shown by the arithmetic where one would.
Status check_run_stage(const TokenStore& store, const PlanSettings& settings, const std::vector<std::size_t>& domains,
                       const std::vector<std::int64_t>& windows, const RunStage& stage);

} // namespace conclave::data
