// verify(): the same steps of an experiment under many layouts of ranks, and whether they are the same run.
//
// Every layout is a run of its own: this program, started with `run --ranks N`, the experiment's data and seed, and the layout
// as overrides. What they leave behind is compared with a run of one rank: loss, nll and gradient norm of every step, the
// counts of every router, and every tensor of the last checkpoint (weights, optimizer states, router bias).
//
// Top-k routing is discontinuous: outside of fp64 a last bit may send a token to another expert, and from there on the curves
// part. Then the steps before the first difference are compared, and the difference is named.
//
// Threading: the calling thread; children run one layout after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "config/experiment.hpp"
#include "run/layout_verdict.hpp"

namespace conclave {

/// Reads `pp2,tp2,ep4,vp2,dp2` (any order, each optional; data takes what is left of `ranks`).
Result<VerifiedLayout> parse_layout(const std::string& text, int ranks);

/// Every layout of that many ranks which folds, suits the batch, and which the model accepts; by degrees, powers of two and
/// divisors alike. The model is asked in the check phase.
Result<std::vector<VerifiedLayout>> valid_layouts(const Experiment& experiment, int ranks);

struct VerifyRequest {
  std::filesystem::path program; ///< this executable
  std::string file;              ///< the experiment
  std::vector<std::string> overrides;
  std::vector<VerifiedLayout> layouts;
  std::string compute = "fp64"; ///< precision.compute of every run
  std::string device = "auto";
  std::int64_t steps = 5;
  double tolerance = 1e-9;
  std::filesystem::path folder; ///< for the runs; made here
};

/// Runs one rank, then every layout; `done` is told of each. An error: the run of one rank failed.
Result<std::vector<LayoutVerdict>> verify(const VerifyRequest& request,
                                          const std::function<void(const LayoutVerdict&)>& done);

} // namespace conclave
