// SampleOrder: which sample of a domain comes n-th in a stage of the run.
//
// A domain's stream of windows is endless: pass after pass over them, each pass a permutation of its own, so that none comes
// twice in a pass. A stage takes a run of that stream and cuts every window into `pieces` samples of equal length, which
// are shuffled over the stage's part of a pass. The next stage goes on with the window behind: whatever the lengths of the
// stages, no text is taken twice in a pass. (Of the last window of a stage some pieces may be left out.)
//
// What this is: numbers, from arithmetic alone; nothing is stored by sample. What this is not: what a window or a piece of it
// holds (samples.hpp).
//
// Threading: const and pure.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "conclave/random.hpp"

namespace conclave::data {

/// A stage's run of the stream.
struct StageSpan {
  static constexpr std::int64_t endless = std::numeric_limits<std::int64_t>::max();
  int stage = 0;
  std::int64_t begin = 0, end = endless; ///< windows of the stream
  std::int64_t pieces = 1;               ///< samples of a window
};

struct PlacedId {
  std::int64_t pass = 0;
  std::int64_t sample = 0; ///< piece p of window w is number w * pieces + p
};

class SampleOrder {
 public:
  /// windows >= 1: those of one pass.
  SampleOrder(std::uint64_t seed, const std::string& domain, std::int64_t windows, const StageSpan& span);

  /// Appends the stage's samples number first, ..., last - 1.
  void append(std::int64_t first, std::int64_t last, std::vector<PlacedId>& out) const;

  /// The window of the stream behind the stage's first `samples` samples.
  [[nodiscard]] std::int64_t window_after(std::int64_t samples) const noexcept;

 private:
  std::int64_t windows_;
  StageSpan span_;
  RandomStream order_, pieces_;
};

} // namespace conclave::data
