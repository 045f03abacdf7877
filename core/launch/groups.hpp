// make_groups(): the groups of ranks that a step talks through, over the network.
//
// GPU tensors travel by NCCL, in its own orders of addition. CPU tensors travel by Gloo: what travels is the same for all types: collectives that move data move bytes. Sums: all_reduce
// is Gloo's ring, whose order of additions depends on the number of ranks and the tensor's length only, so a run repeats
// bit for bit and every rank has the same bits; reduce_scatter adds in the order of ranks. Both add in the tensor's own type.
// A sum of bool is "any".
//
// Failure: a collective that does not end well throws PeerLost, which names the group, the operation and its number. After
// that the groups are of no more use, and the process should end by _exit() once it has written what it must: threads of
// theirs may wait for a peer that never answers, and are left behind.
//
// Threading: as parallel/group.hpp says. Sums of reduce_scatter run in wait().
#pragma once

#include <chrono>
#include <memory>

#include "conclave/host.hpp"
#include "conclave/mesh.hpp"
#include "conclave/parallel/group.hpp"
#include "conclave/status.hpp"
#include "launch/operation_board.hpp"
#include "launch/rendezvous.hpp"

namespace conclave {

/// Collective; connects the group of all ranks, the others at their first use. `timeout` is for one collective, and should be
/// longer than the watchdog's, which knows more. `board` may be null. The rendezvous must outlive the groups.
Result<std::shared_ptr<Groups>> make_groups(Rendezvous& rendezvous, const Mesh& mesh, const RankInfo& ranks,
                                            const Device& device, std::chrono::milliseconds timeout,
                                            std::shared_ptr<OperationBoard> board);

} // namespace conclave
