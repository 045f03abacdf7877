// The router.

#include "router.hpp"

#include <ATen/ops/empty.h>

#include "kernels.hpp"

namespace conclave::cuda {
namespace {

RouteShape shape_of(const at::Tensor& logits, const ops::GpuKernels::RouteInputs& in) {
  const auto& options = in.options;
  TORCH_CHECK(logits.size(1) <= Kernels::most_routed_experts && options.top_k <= Kernels::most_choices, logits.size(1),
              " experts or ", options.top_k, " choices are more than the router's kernels take");
  return {in.sequences,
          logits.size(0) / in.sequences,
          static_cast<int>(logits.size(1)),
          static_cast<int>(options.top_k),
          options.scores == ops::RouterScores::softmax,
          options.normalise_top_k,
          static_cast<float>(options.scaling)};
}

std::int64_t* indices(const at::Tensor& x) {
  TORCH_CHECK(!x.defined() || x.scalar_type() == at::kLong, "indices are int64");
  return static_cast<std::int64_t*>(mutable_data(x));
}

const bool* flags(const at::Tensor& x) {
  TORCH_CHECK(!x.defined() || x.scalar_type() == at::kBool, "a mask is bool");
  return static_cast<const bool*>(data(x));
}

} // namespace

void Kernels::route(const at::Tensor& logits, const RouteInputs& in, const RouteOutputs& out) const {
  CONCLAVE_KERNEL("route", logits, out.weights, out.experts);
  const RouteShape shape = shape_of(logits, in);
  const std::int64_t columns = 2 * logits.size(1) + 1;
  const at::Tensor sums = at::empty({in.sequences * route_blocks(shape), columns}, logits.options());
  const at::Tensor totals = at::empty({in.sequences, columns}, logits.options().dtype(at::kDouble));
  cuda::route(shape, floats(logits), floats(in.selection_bias), flags(in.mask), mutable_floats(out.weights),
              indices(out.experts), mutable_floats(sums), current_stream());
  check_launch();
  const BalanceShares shares{indices(in.previous_load), in.options.balance_scope == ops::BalanceScope::micro_batch};
  cuda::route_losses(shape, floats(sums), shares, static_cast<double*>(mutable_data(totals)), indices(out.counts),
                     mutable_floats(out.balance_loss), mutable_floats(out.z_loss), mutable_floats(out.slope),
                     current_stream());
  check_launch();
}

void Kernels::route_backward(const at::Tensor& logits, const RouteInputs& in, const at::Tensor& experts,
                             const at::Tensor& slope, const RouteGradients& gradients,
                             const at::Tensor& dlogits) const {
  CONCLAVE_KERNEL("route_backward", logits, experts, gradients.weights, dlogits);
  cuda::route_backward(shape_of(logits, in), floats(logits), flags(in.mask), indices(experts), floats(slope),
                       floats(gradients.weights), floats(gradients.balance_loss), floats(gradients.z_loss),
                       mutable_floats(dlogits), current_stream());
  check_launch();
}

} // namespace conclave::cuda
