// swiglu_experts over ranks: sort by expert, exchange, compute, exchange back, sum over choices.

#include "conclave/parallel/experts.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diff.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/zeros.h>

#include <numeric>
#include <optional>
#include <vector>

#include "../ops/expert_rows.hpp"
#include "conclave/ops/experts.hpp"
#include "conclave/parallel/collectives.hpp"

namespace conclave::parallel {
namespace {

/// Which rows go where, from every rank's choices.
struct Dispatch {
  std::vector<std::int64_t> sent, received; ///< rows to and from each rank
  at::Tensor local_expert;                  ///< [R, 1] int64, of the received rows: by rank, then by expert
};

/// `ends` [E]: end row of each expert among this rank's sorted rows. Collective.
Dispatch exchange_counts(const at::Tensor& ends, Group& group) {
  const std::int64_t ranks = group.size(), local = ends.size(0) / ranks;
  const std::vector<std::int64_t> equal(static_cast<std::size_t>(ranks), local);
  const at::Tensor wide = ends.to(at::kLong), counts = at::diff(wide, 1, 0, at::zeros({1}, wide.options()));
  const at::Tensor arriving = at::empty_like(counts); // [rank, local expert]
  group.all_to_all(arriving, counts, equal, equal).wait();

  const at::Tensor by_rank = at::cat({counts, arriving}).view({2, ranks, local}).sum(2).to(at::kCPU);
  const std::int64_t* rows = by_rank.const_data_ptr<std::int64_t>();
  Dispatch plan{{rows, rows + ranks}, {rows + ranks, rows + 2 * ranks}, {}};
  const std::int64_t total = std::accumulate(plan.received.begin(), plan.received.end(), std::int64_t{0});
  plan.local_expert = at::repeat_interleave(arriving, std::optional(total)).remainder_(local).unsqueeze(1);
  return plan;
}

} // namespace

at::Tensor swiglu_experts(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& experts,
                          const BoundParam& gate_up, const BoundParam& down, const at::Tensor& addend, Group* group) {
  if (group == nullptr || group->size() == 1) return ops::swiglu_experts(x, weights, experts, gate_up, down, addend);
  const ops::ExpertRows sorted = ops::sort_by_expert(experts, group->size() * gate_up.value.size(0));
  const Dispatch plan = exchange_counts(sorted.ends, *group);
  const at::Tensor rows = all_to_all_rows(ops::permute(x, sorted), plan.received, plan.sent, group);
  const at::Tensor scales = all_to_all_rows(ops::sort_weights(weights, sorted), plan.received, plan.sent, group);
  const at::Tensor results = ops::swiglu_experts(rows, scales, plan.local_expert, gate_up, down);
  const at::Tensor y = ops::combine(all_to_all_rows(results, plan.sent, plan.received, group), sorted);
  return addend.defined() ? addend + y : y;
}

} // namespace conclave::parallel
