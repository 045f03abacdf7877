// CheckpointPolicy: says when to save and what to keep. The host writes, commits, verifies and removes.
//
// The host saves at the end of a run and on a stop request whatever the policy says. It asks retire() only after a new
// checkpoint is committed and read back, and never removes the newest good one.
//
// Threading: due() on the step thread between updates, retire() on the host's writer thread, maybe at the same time. All
// ranks get the same questions and must give the same answers, so an answer may depend on the arguments and options only,
// not on a clock or on earlier calls.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "conclave/plugin.hpp"

namespace conclave {

struct CheckpointInfo {
  std::int64_t step = 0;
  std::int64_t bytes = 0;
};

class CheckpointPolicy : public Plugin {
 public:
  static constexpr const char* kind = "checkpoint";
  ~CheckpointPolicy() override;

  /// Save after the step that made `step` batches seen (1-based)?
  [[nodiscard]] virtual bool due(std::int64_t step, std::int64_t total_steps) const = 0;
  /// `committed` is sorted by step, all good; returns the steps to remove.
  [[nodiscard]] virtual std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const = 0;
};

} // namespace conclave
