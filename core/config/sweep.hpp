// Sweep: the members that a `sweep:` block makes of one experiment.
//
//   sweep:
//     list: [{train.batch: 16, optimizer.with.lr: 1e-3}, {train.batch: 32, optimizer.with.lr: 2e-3}]
//     grid: {model.with.experts: [8, 16, 32], model.with.top_k: [1, 2]}
//     ablations: {no-gates: {model.with.hierarchy.head_gates: false}}
//     seeds: 3
//     limit: 64
//
// Every entry of `list`, with every combination of `grid`, as it is ("base") and with each ablation, under every seed. A
// count of seeds goes on from the experiment's own. Keys are those of `--set`; a value replaces or merges as a later
// layer's does. A member is an ordinary experiment: the block itself is part of none.
//
// What this is not: how members are run (cli/sweep.cpp), or a check that they bind; `check` loads each.
//
// Threading: reentrant.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conclave/value.hpp"

namespace conclave {

struct SweepMember {
  std::string name; ///< `experts=8,seed=2`: unique in its sweep, and the name of its run's folder
  Value layer;      ///< goes over the experiment; located in the block
};

/// More members than this need a `limit` of their own.
inline constexpr std::int64_t default_sweep_limit = 64;
/// What `limit` may say.
inline constexpr std::int64_t most_sweep_members = 10'000;

/// The members of a block, in a fixed order: seeds change fastest, then ablations, then the grid's last key. Problems go to
/// `diagnostics`, each where it was written, and leave no members. `seed` is the experiment's; a first segment of
/// `data_keys` may leave out `data.`, as in `--set`.
std::vector<SweepMember> expand_sweep(const Value& block, std::uint64_t seed, const std::vector<std::string>& data_keys,
                                      Diagnostics& diagnostics);

} // namespace conclave
