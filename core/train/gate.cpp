// Global norm, overflow check and clip factor.

#include "train/gate.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

namespace conclave::train {
namespace {

constexpr std::int64_t chunk = 16384; // elements; the unit of work and of the addition order

template <class T>
double chunk_sum(const T* data, std::int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(data[i]) * static_cast<double>(data[i]);
  return sum;
}

double sum_of_squares_cpu(const std::vector<at::Tensor>& tensors) {
  struct Piece {
    std::size_t tensor;
    std::int64_t first, size;
  };
  std::vector<Piece> pieces;
  for (std::size_t t = 0; t < tensors.size(); ++t)
    for (std::int64_t first = 0; first < tensors[t].numel(); first += chunk)
      pieces.push_back({t, first, std::min(chunk, tensors[t].numel() - first)});
  std::vector<double> sums(pieces.size());
  at::parallel_for(0, static_cast<std::int64_t>(pieces.size()), 4, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const at::Tensor& tensor = tensors[pieces[i].tensor];
      AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "sum_of_squares", [&] {
        sums[i] = chunk_sum(tensor.const_data_ptr<scalar_t>() + pieces[i].first, pieces[i].size);
      });
    }
  });
  double total = 0;
  for (std::size_t i = 0; i < pieces.size();) {
    double parameter = 0;
    const std::size_t tensor = pieces[i].tensor;
    for (; i < pieces.size() && pieces[i].tensor == tensor; ++i) parameter += sums[i];
    total += parameter;
  }
  return total;
}

} // namespace

at::Tensor sum_of_squares(const std::vector<at::Tensor>& tensors) {
  if (tensors.front().is_cpu()) return at::full({}, sum_of_squares_cpu(tensors), at::kDouble);
  return at::stack(at::_foreach_norm(tensors, 2, at::kDouble)).square().sum();
}

Gate::Gate(const GateSettings& settings, std::vector<at::Tensor> gradients, at::Device device, at::ScalarType type)
    : settings_(settings), gradients_(std::move(gradients)) {
  for (at::Tensor* value :
       {&gate_.found_inf, &gate_.norm_squared, &gate_.clip_factor, &gate_.gradient_scale, &gate_.apply})
    *value = at::zeros({}, at::TensorOptions().device(device).dtype(type));
}

void Gate::decide(const at::Tensor& loss_scale) {
  const at::Tensor scale = loss_scale.to(at::kDouble);
  // A rank may own no parameter's norm. Its zero is made on the device: one of the host's would have to be copied there.
  const at::Tensor sum = gradients_.empty() ? at::zeros_like(scale) : sum_of_squares(gradients_);
  const at::Tensor norm_squared = sum / scale.square();
  const at::Tensor norm = norm_squared.sqrt();
  const at::Tensor finite = at::isfinite(norm_squared);
  at::Tensor clip = at::ones_like(norm);
  if (settings_.clip > 0) clip = at::where(finite, (settings_.clip / (norm + 1e-6)).clamp_max(1.0), clip);
  // The in-place forms keep the addresses that a captured graph or an optimizer holds.
  gate_.norm_squared.copy_(norm_squared);
  gate_.found_inf.copy_(finite.logical_not());
  gate_.clip_factor.copy_(clip);
  gate_.gradient_scale.copy_(clip / scale);
  gate_.apply.copy_(settings_.limit > 0 ? finite.logical_and(norm <= settings_.limit) : finite);
}

} // namespace conclave::train
