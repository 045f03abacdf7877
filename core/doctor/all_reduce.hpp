// An all-reduce over all ranks through the groups that a run would use: NCCL between GPUs, else Gloo.
#pragma once

#include <chrono>

#include "doctor/check.hpp"
#include "doctor/expectation.hpp"
#include "launch/device.hpp"
#include "launch/rendezvous.hpp"

namespace conclave::doctor {

struct AllReduce {
  Check check;         ///< the same on every rank, but for who is at fault
  bool broken = false; ///< a collective did not end well: threads may wait for a peer for ever, so end by _exit()
};

/// Timed, and its sums looked at. A rank that does not come into it within `timeout` makes a `fail`. Collective.
AllReduce measure_all_reduce(Rendezvous& rendezvous, DeviceChoice device, std::chrono::milliseconds timeout,
                             const Expectation& expected);

} // namespace conclave::doctor
