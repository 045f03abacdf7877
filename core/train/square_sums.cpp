// Chunks of a fixed size, so that threads do not matter.

#include "train/square_sums.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

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

at::Tensor square_sums_cpu(const std::vector<at::Tensor>& tensors) {
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
      AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "square_sums", [&] {
        sums[i] = chunk_sum(tensor.const_data_ptr<scalar_t>() + pieces[i].first, pieces[i].size);
      });
    }
  });
  const at::Tensor totals = at::zeros({static_cast<std::int64_t>(tensors.size())}, at::kDouble);
  auto* total = totals.mutable_data_ptr<double>();
  for (std::size_t i = 0; i < pieces.size(); ++i) total[pieces[i].tensor] += sums[i];
  return totals;
}

} // namespace

at::Tensor square_sums(const std::vector<at::Tensor>& tensors) {
  if (tensors.front().is_cpu()) return square_sums_cpu(tensors);
  return at::stack(at::_foreach_norm(tensors, 2, at::kDouble)).square();
}

at::Tensor sum_in_order(const at::Tensor& values) {
  if (!values.is_cpu()) return values.sum();
  double sum = 0;
  const auto* value = values.const_data_ptr<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) sum += value[i];
  return at::full({}, sum, at::kDouble);
}

} // namespace conclave::train
