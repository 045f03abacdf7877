// Verdict: whether one group of runs is better than another, or whether nobody can tell.
//
// The measure is held-out nll: at the end, where both groups have finished runs; else at the last evaluation that all of them
// have. Over text that was prepared otherwise it is bits per byte. Runs without evaluations are held against each other by the
// mean nll of the last training steps that they have in common.
//
// The test: paired where both groups have two seeds or more that saw the same batches in the same order; Welch's where both have
// two seeds or more; with one seed on a side, a t with the spread that the other groups show; else none, and the answer is
// "cannot tell".
//
// Threading: functions without state.
#pragma once

#include "compare/comparison.hpp"

namespace conclave::compare {

/// One verdict for each group but the baseline, p adjusted for their number.
std::vector<Verdict> judge(const Comparison& comparison);

/// What one group alone has to say.
std::string describe_spread(const Comparison& comparison);

} // namespace conclave::compare
