// audit_shares(): counts what is in a range of batches and holds it against the shares that the plan promises.
//
// Threading: a pure function; plans every batch of the range, which reads no token.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "data/batch_plan.hpp"

namespace conclave::data {

/// One domain in batches [first, end) of a plan.
struct DomainShare {
  std::int64_t sequences = 0, tokens = 0; ///< counted; tokens are inputs without padding
  double exact = 0;                       ///< sequences that its shares give, summed over the batches
  double worst_batch = 0;                 ///< largest |counted - exact| of a single batch
  double passes_before = 0, passes_after = 0;
};

struct ShareAudit {
  std::int64_t first = 0, end = 0, sequences = 0;
  std::vector<DomainShare> domains; ///< by domain of the store
};
/// Precondition: 0 <= first < end. Code::stopped when asked to.
Result<ShareAudit> audit_shares(const BatchPlan& plan, std::int64_t first, std::int64_t end,
                                const std::stop_token& stop);

} // namespace conclave::data
