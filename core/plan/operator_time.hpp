// Time of operators and collectives on a machine: a roofline for each kernel, alpha-beta for each exchange.
//
// Threading: pure functions.
#pragma once

#include <span>

#include "conclave/mesh.hpp"
#include "conclave/model.hpp"
#include "plan/machine.hpp"

namespace conclave::plan {

/// Of one of the alike operators: its operations at the rate of their size, or its bytes at the memory's after a
/// kernel's start, whichever takes longer.
double seconds_of(const OperatorWork& work, const Machine& machine, const TypeRates& rates);

/// How a group of ranks lies on nodes that neighbouring ranks fill.
struct GroupPlace {
  int ranks = 1;
  int nodes = 1;   ///< that it touches
  int in_node = 1; ///< ranks of it in one node

  [[nodiscard]] bool crosses_nodes() const noexcept { return nodes > 1; }
};
GroupPlace place_group(const Mesh& mesh, std::span<const MeshDim> dims, const Machine& machine);

/// One collective of `bytes` in the sense of ExchangeWork. A ring: over nodes as fast as the links of all its members in
/// one node together, within a node as fast as that node's links; an exchange of all with all sends each part over the
/// link that it needs. Nothing for one rank.
double seconds_of(Collective kind, double bytes, const GroupPlace& place, const Machine& machine);

/// What one rank sends in it.
struct SentBytes {
  double within_node = 0, between_nodes = 0;

  SentBytes& operator+=(const SentBytes& other) noexcept {
    within_node += other.within_node;
    between_nodes += other.between_nodes;
    return *this;
  }
};
SentBytes sent_by(Collective kind, double bytes, const GroupPlace& place);

} // namespace conclave::plan
