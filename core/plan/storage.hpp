// Storage that a run asks for: checkpoints and prepared tokens.
#pragma once

#include <cstdint>

#include "conclave/checkpoint_policy.hpp"
#include "plan/memory.hpp"

namespace conclave::plan {

struct Storage {
  std::int64_t checkpoint = 0; ///< bytes of one: masters, optimizer states and the model's state buffers
  std::int64_t kept = 0;       ///< checkpoints that the policy leaves at the end of the run
  /// Prepared tokens at most: those of all steps, as if none was seen twice. What there is of text may be less.
  std::int64_t tokens = 0;

  /// An old checkpoint goes only after a new one is there.
  [[nodiscard]] std::int64_t sum() const noexcept { return checkpoint * (kept + 1) + tokens; }
};

/// `policy` may be null: then the run saves at its end alone.
Result<Storage> plan_storage(const Subject& subject, const CheckpointPolicy* policy);

} // namespace conclave::plan
