// The test kit for parallel models: the ranks of a run as threads of the test.
//
//   testkit::run_ranks({.data = 2, .tensor = 2}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
//     // ... a stage with request.mesh = mesh and request.groups = groups; compare with what one rank computes
//   });
//
// Collectives copy through memory; sums are added in the order of ranks in the tensor's own type, so a test repeats bit for
// bit. The kit is stricter than a network: a result is written by Work::wait() only, calls that do not match throw
// std::logic_error with both calls, and so does a run in which no rank can go on (one ended, or waits for another that
// waits), where real ranks would hang.
//
// What this is: correctness on the CPU, where autograd works in the thread that calls it. What this is not: for GPUs, whose
// one autograd thread would wait for itself; or a measurement.
#pragma once

#include <functional>
#include <memory>

#include "conclave/mesh.hpp"
#include "conclave/parallel/group.hpp"

namespace conclave::testkit {

/// Sizes of the mesh (conclave/mesh.hpp); `expert` divides data * tensor, and expert_data is what is left. Neighbours differ in
/// the tensor dimension first, then in data, then in pipeline, as in a run.
struct RankSizes {
  int pipeline = 1, data = 1, tensor = 1, expert = 1;
};

/// Runs `body` once a rank, each in a thread of its own, and returns when all have ended. When one throws, the others'
/// collectives throw PeerLost, and run_ranks throws the first exception. Sizes that do not fit throw std::invalid_argument.
///
/// EXPECT_... may be used in the body; a failed ASSERT_... ends its rank, which then ends the others.
void run_ranks(const RankSizes& sizes,
               const std::function<void(const Mesh& mesh, const std::shared_ptr<Groups>& groups)>& body);

} // namespace conclave::testkit
