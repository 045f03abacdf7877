// The formulas, each once.

#include "plan/operator_time.hpp"

#include <algorithm>
#include <set>

#include "launch/ranks.hpp"

namespace conclave::plan {
namespace {

const RateCurve& curve_of(OperatorWork::Kind kind, const TypeRates& rates) {
  switch (kind) {
    case OperatorWork::Kind::grouped_product: return rates.grouped_product;
    case OperatorWork::Kind::attention: return rates.attention;
    case OperatorWork::Kind::attention_backward: return rates.attention_backward;
    case OperatorWork::Kind::product:
    case OperatorWork::Kind::memory: break;
  }
  return rates.product;
}

/// How often a collective's bytes pass round its ring, but for a rank's own part.
double rounds(Collective kind) { return kind == Collective::all_reduce ? 2 : 1; }

/// Share of an exchange that one rank sends: all but its own part.
double to_others(const GroupPlace& place) { return 1 - 1.0 / place.ranks; }

} // namespace

double seconds_of(const OperatorWork& work, const Machine& machine, const TypeRates& rates) {
  const double compute = work.flops > 0 ? curve_of(work.kind, rates).seconds(work.flops) : 0;
  return std::max(compute, work.bytes / machine.memory_bandwidth.value + machine.kernel.seconds);
}

GroupPlace place_group(const Mesh& mesh, std::span<const MeshDim> dims, const Machine& machine) {
  std::set<int> nodes;
  const std::vector<int> ranks = ranks_over(mesh, dims);
  for (const int rank : ranks) nodes.insert(rank / machine.gpus_per_node);
  GroupPlace place;
  place.ranks = static_cast<int>(ranks.size());
  place.nodes = static_cast<int>(nodes.size());
  place.in_node = (place.ranks + place.nodes - 1) / place.nodes;
  return place;
}

double seconds_of(Collective kind, double bytes, const GroupPlace& place, const Machine& machine) {
  if (place.ranks == 1) return 0;
  const auto& [within, between] = std::pair(machine.within_node, machine.between_nodes);
  const double hops = (place.in_node - 1) * within.latency.seconds + (place.nodes - 1) * between.latency.seconds;
  const SentBytes sent = sent_by(kind, bytes, place);
  const double inside = sent.within_node > 0 ? sent.within_node / within.bandwidth.value : 0;
  const double outside = sent.between_nodes > 0 ? sent.between_nodes / between.bandwidth.value : 0;
  return rounds(kind) * hops + std::max(inside, outside);
}

SentBytes sent_by(Collective kind, double bytes, const GroupPlace& place) {
  if (place.ranks == 1) return {};
  if (kind == Collective::all_to_all) {
    const double part = bytes / place.ranks;
    return {part * (place.in_node - 1), part * (place.ranks - place.in_node)};
  }
  const double round = rounds(kind) * bytes * to_others(place);
  if (!place.crosses_nodes()) return {round, 0};
  // The ring leaves a node once; its channels do so from a different member each.
  return {place.in_node > 1 ? round : 0, round / place.in_node};
}

} // namespace conclave::plan
