// Counting, batch by batch.

#include "data/share_audit.hpp"

#include <algorithm>
#include <cmath>

#include "data/parallel.hpp"

namespace conclave::data {

Result<ShareAudit> audit_shares(const BatchPlan& plan, std::int64_t first, std::int64_t end,
                                const std::stop_token& stop) {
  ShareAudit audit{first, end, 0, {}};
  const std::vector<PlanStage> stages = plan.stages();
  auto stage = stages.begin();
  for (std::int64_t index = first; index < end; ++index) {
    if (stop.stop_requested()) return stopped_error();
    while (std::next(stage) != stages.end() && std::next(stage)->first <= index) ++stage;
    const StepPlan step = plan.plan(index);
    audit.domains.resize(step.domain_sequences.size());
    audit.sequences += step.global_sequences;
    for (std::size_t d = 0; d < audit.domains.size(); ++d) {
      DomainShare& domain = audit.domains[d];
      const double exact = static_cast<double>(step.global_sequences) * stage->shares[d];
      domain.sequences += step.domain_sequences[d];
      domain.tokens += step.domain_tokens[d];
      domain.exact += exact;
      domain.worst_batch =
          std::max(domain.worst_batch, std::abs(static_cast<double>(step.domain_sequences[d]) - exact));
    }
  }
  const std::vector<double> before = plan.passes(first), after = plan.passes(end);
  for (std::size_t d = 0; d < audit.domains.size(); ++d) {
    audit.domains[d].passes_before = before[d];
    audit.domains[d].passes_after = after[d];
  }
  return audit;
}

} // namespace conclave::data
