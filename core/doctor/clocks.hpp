// How far the clocks of the ranks' machines are apart.
#pragma once

#include <string>
#include <vector>

#include "doctor/check.hpp"
#include "doctor/expectation.hpp"
#include "launch/exchange.hpp"

namespace conclave::doctor {

/// A reading of rank 0's clock, and this rank's clock when it had come; seconds.
struct ClockSample {
  double there = 0, here = 0;
};

/// Seconds by which this clock is ahead, to within the shortest way of a reading. Precondition: there is a sample.
double clock_offset(const std::vector<ClockSample>& samples);

/// Seconds by which this rank's clock is ahead of rank 0's; 0 on rank 0. Takes a second or two. Collective.
Result<double> measure_clock(Exchange& exchange);

/// `offsets` and `nodes` by rank.
Check judge_clocks(const std::vector<double>& offsets, const std::vector<std::string>& nodes,
                   const Expectation& expected);

} // namespace conclave::doctor
