// Launchers of the router's kernels; see ops/gpu_kernels.hpp for what they compute.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

struct RouteShape {
  std::int64_t sequences, length;
  int experts, top_k; ///< at most 512 and 16
  bool softmax, normalise;
  float scaling;
  [[nodiscard]] constexpr std::int64_t tokens() const { return sequences * length; }
};

/// What blocks of tokens find: sums [sequences, route_blocks(), 2 experts + 1] of the experts' normalised scores, of choices,
/// and of logsumexp^2, over real tokens.
std::int64_t route_blocks(const RouteShape& shape);
/// bias and mask may be null.
void route(const RouteShape& shape, const float* logits, const float* bias, const bool* mask, float* weights,
           std::int64_t* chosen, float* sums, cudaStream_t stream);

/// From what choices the balance loss has its shares.
struct BalanceShares {
  const std::int64_t* previous; ///< [experts]: from these; null: from this call's
  bool together;                ///< of all sequences; else of each by itself
};
/// totals [sequences, 2 experts + 1] is scratch.
void route_losses(const RouteShape& shape, const float* sums, const BalanceShares& shares, double* totals,
                  std::int64_t* counts, float* balance, float* z, float* slope, cudaStream_t stream);

/// dweights, dbalance and dz may be null: 0.
void route_backward(const RouteShape& shape, const float* logits, const bool* mask, const std::int64_t* chosen,
                    const float* slope, const float* dweights, const float* dbalance, const float* dz, float* dlogits,
                    cudaStream_t stream);

} // namespace conclave::cuda
