// The router: as many lanes of a warp as there are experts take a token together, or a whole warp, each lane several experts.
// Nothing about a token is kept for the backward pass but its choice: the scores are computed again.
//
// Sums over tokens are made in a fixed order: each lane's over its tokens, a block's over its lanes, and those of all blocks by one
// block in fp64.
//
// Bytes that must move, for E experts, K choices and T tokens: forward (4 E + 12 K) T, backward (8 E + 12 K) T. These are so few
// that the launches and the chains of shuffles take the time.

#include "router.hpp"

#include <algorithm>

#include "device.cuh"

namespace conclave::cuda {
namespace {

constexpr int threads = 256;
constexpr unsigned everyone = 0xffffffffu;
/// Of a sequence that a block takes: few, so that there are many blocks.
constexpr std::int64_t tokens_of_block = 64;
constexpr float tiny = 1e-20F; ///< added to a divisor: all sigmoids may underflow

int lanes_for(int experts) {
  int lanes = 1;
  while (lanes < experts && lanes < warp) lanes *= 2;
  return lanes;
}

/// The lanes that take a token together, a power of 2. Lane l has the experts l, l + count, ...
struct Team {
  int count, lane;
  int number; ///< of the team, in its block
  unsigned members;

  __device__ explicit Team(int lanes) : count(lanes) {
    const int in_warp = static_cast<int>(threadIdx.x) % warp;
    lane = in_warp % count;
    number = static_cast<int>(threadIdx.x) / count;
    members = (count == warp ? everyone : (1u << count) - 1) << (in_warp - lane);
  }

  [[nodiscard]] __device__ int expert(int i) const { return i * count + lane; }
  [[nodiscard]] __device__ float sum(float x) const { return warp_sum(x, count); }
  [[nodiscard]] __device__ float maximum(float x) const {
#pragma unroll
    for (int distance = warp / 2; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(everyone, x, distance);
      if (distance < count) x = fmaxf(x, other);
    }
    return x;
  }
  /// `from` is a lane of the team.
  template <class X>
  [[nodiscard]] __device__ X broadcast(X x, int from) const {
    return __shfl_sync(everyone, x, from, count);
  }
};

/// A token's scores, those of the lane's n experts; 0 where there is no such expert.
template <int n, bool softmax>
struct Scores {
  float probability[n]; ///< the softmax
  float sigmoid[softmax ? 1 : n];
  float lse, sum; ///< logsumexp of the logits; what scores are divided by to sum to 1

  /// All lanes of the warp at once. No token: as if all logits were 0.
  __device__ Scores(const float* logits, int experts, bool there, const Team& team) {
    float logit[n], top = -INFINITY, total = 0, all = 0;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const int e = team.expert(i);
      logit[i] = e < experts ? (there ? logits[e] : 0.0F) : -INFINITY;
      top = fmaxf(top, logit[i]);
    }
    top = team.maximum(top);
#pragma unroll
    for (int i = 0; i < n; ++i) total += probability[i] = expf(logit[i] - top);
    total = team.sum(total);
#pragma unroll
    for (int i = 0; i < n; ++i) probability[i] /= total;
    lse = top + logf(total);
    sum = 1;
    if constexpr (!softmax) {
#pragma unroll
      for (int i = 0; i < n; ++i) all += sigmoid[i] = 1.0F / (1.0F + expf(-logit[i]));
      sum = team.sum(all) + tiny;
    }
  }

  [[nodiscard]] __device__ float score(int i) const { return softmax ? probability[i] : sigmoid[softmax ? 0 : i]; }
  [[nodiscard]] __device__ float share(int i) const { return softmax ? probability[i] : score(i) / sum; }
};

/// The same order as that of the numbers, and above 0; -0 is 0, and NaN the largest.
__device__ inline unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x + 0.0F);
  return max(1u, (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u);
}

template <int n, bool softmax>
__global__ void __launch_bounds__(threads)
    forward(const RouteShape shape, std::int64_t blocks, int lanes, const float* logits, const float* bias,
            const bool* mask, float* weights, std::int64_t* chosen, float* sums) {
  extern __shared__ float shared[];
  const Team team(lanes);
  const int teams = threads / lanes, experts = shape.experts, top_k = shape.top_k;
  float* const masses = shared; // [teams, experts]
  float* const squares = masses + teams * experts;
  int* const counts = reinterpret_cast<int*>(squares + teams);
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += threads) counts[e] = 0;
  __syncthreads();

  const std::int64_t sequence = blockIdx.x / blocks;
  const std::int64_t begin = blockIdx.x % blocks * tokens_of_block, end = min(begin + tokens_of_block, shape.length);
  float mass[n] = {}, square = 0, added[n] = {};
  if (bias != nullptr) {
#pragma unroll
    for (int i = 0; i < n; ++i) added[i] = team.expert(i) < experts ? bias[team.expert(i)] : 0.0F;
  }
  for (std::int64_t first = begin; first < end; first += teams) { // the same number of times in all lanes
    const bool there = first + team.number < end;
    const std::int64_t token = sequence * shape.length + first + team.number;
    const Scores<n, softmax> scores(logits + token * experts, experts, there, team);

    unsigned rank[n];
#pragma unroll
    for (int i = 0; i < n; ++i) rank[i] = team.expert(i) < experts ? ordered(scores.score(i) + added[i]) : 0u;
    float own_score = 0, total = tiny;
    int own_choice = 0; // of lane k: the k-th
    for (int k = 0; k < top_k; ++k) {
      unsigned best = 0;
      int choice = experts;
#pragma unroll
      for (int i = 0; i < n; ++i)
        if (rank[i] > best) best = rank[i], choice = team.expert(i);
      // Of equal ones, the lower expert.
      const unsigned top = __reduce_max_sync(team.members, best);
      choice = __reduce_min_sync(team.members, best == top ? choice : experts);
      float score = 0;
#pragma unroll
      for (int i = 0; i < n; ++i)
        if (team.expert(i) == choice) score = scores.score(i), rank[i] = 0;
      score = team.broadcast(score, choice % lanes);
      total += score;
      if (team.lane == k) own_score = score, own_choice = choice;
    }
    const bool counted = there && (mask == nullptr || mask[token]);
    if (there && team.lane < top_k) {
      weights[token * top_k + team.lane] = (shape.normalise ? own_score / total : own_score) * shape.scaling;
      chosen[token * top_k + team.lane] = own_choice;
      if (counted) atomicAdd(&counts[own_choice], 1);
    }
    if (counted) {
#pragma unroll
      for (int i = 0; i < n; ++i) mass[i] += scores.share(i);
      square += scores.lse * scores.lse;
    }
  }

#pragma unroll
  for (int i = 0; i < n; ++i)
    if (team.expert(i) < experts) masses[team.number * experts + team.expert(i)] = mass[i];
  if (team.lane == 0) squares[team.number] = square;
  __syncthreads();
  sums += static_cast<std::int64_t>(blockIdx.x) * (2 * experts + 1);
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += threads) {
    float sum = 0;
    for (int t = 0; t < teams; ++t) sum += masses[t * experts + e];
    sums[e] = sum;
    sums[experts + e] = static_cast<float>(counts[e]);
  }
  if (threadIdx.x == 0) {
    float sum = 0;
    for (int t = 0; t < teams; ++t) sum += squares[t];
    sums[2 * experts] = sum;
  }
}

__device__ inline double sum_of_warp(double x) {
#pragma unroll
  for (int distance = warp / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(everyone, x, distance);
  return x;
}

constexpr int threads_of_losses = 1024;

/// One block. The balance loss is the sum over sequences and experts of slope * mass, slope being E / K times the choices over the
/// square of their tokens' number.
__global__ void __launch_bounds__(threads_of_losses)
    losses(const RouteShape shape, std::int64_t blocks, const float* sums, const BalanceShares shares, double* totals,
           std::int64_t* counts, float* balance, float* z, float* slope) {
  extern __shared__ double loads[]; // [experts]: of all sequences
  __shared__ double parts[2][warp];
  const int experts = shape.experts, columns = 2 * experts + 1, self = static_cast<int>(threadIdx.x);
  for (std::int64_t i = self; i < shape.sequences * columns; i += threads_of_losses) {
    const float* const from = sums + i / columns * blocks * columns + i % columns;
    double sum = 0;
#pragma unroll 16
    for (std::int64_t block = 0; block < blocks; ++block) sum += from[block * columns];
    totals[i] = sum;
  }
  __syncthreads();
  for (int e = self; e < experts; e += threads_of_losses) {
    double sum = 0;
    for (std::int64_t b = 0; b < shape.sequences; ++b) sum += totals[b * columns + experts + e];
    counts[e] = static_cast<std::int64_t>(sum);
    loads[e] = shares.previous != nullptr ? static_cast<double>(shares.previous[e]) : sum;
  }
  __syncthreads();

  const int lane = self % warp, number = self / warp;
  const double choices = shape.top_k;
  double balance_sum = 0, z_sum = 0;
  for (std::int64_t b = number; b < shape.sequences; b += threads_of_losses / warp) {
    const double* const own = totals + b * columns;
    const double* const load = shares.together || shares.previous != nullptr ? loads : own + experts;
    double all = 0;
    for (int e = lane; e < experts; e += warp) all += load[e];
    all = sum_of_warp(all);
    double factor, more = 0;
    if (shares.previous != nullptr) {
      more = all == 0 ? 1 : 0; // before the first batch: one choice of each
      factor = experts / (all == 0 ? experts : all);
    } else {
      const double tokens = fmax(1.0, all / choices);
      factor = experts / choices / (tokens * tokens) * (shares.together ? static_cast<double>(shape.sequences) : 1.0);
    }
    for (int e = lane; e < experts; e += warp) {
      const double s = (load[e] + more) * factor;
      slope[b * experts + e] = static_cast<float>(s);
      balance_sum += s * own[e];
    }
    if (lane == 0) z_sum += own[2 * experts];
  }
  balance_sum = sum_of_warp(balance_sum);
  if (lane == 0) parts[0][number] = balance_sum, parts[1][number] = z_sum;
  __syncthreads();
  if (number == 0) {
    balance_sum = sum_of_warp(parts[0][lane]);
    z_sum = sum_of_warp(parts[1][lane]);
    if (lane == 0) *balance = static_cast<float>(balance_sum), *z = static_cast<float>(z_sum);
  }
}

template <int n, bool softmax>
__global__ void __launch_bounds__(threads)
    backward(const RouteShape shape, int lanes, const float* logits, const bool* mask, const std::int64_t* chosen,
             const float* slope, const float* dweights, const float* dbalance, const float* dz, float* dlogits) {
  const Team team(lanes);
  const int experts = shape.experts, top_k = shape.top_k;
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * (threads / lanes) + team.number;
  const bool there = token < shape.tokens();
  const Scores<n, softmax> scores(logits + token * experts, experts, there, team);
  const bool counted = there && (mask == nullptr || mask[token]);

  // By the scores: first of the chosen ones' weights, w = scaling * score / total.
  float d[n] = {};
  if (dweights != nullptr) {
    int own_choice = -1; // of lane k: the k-th
    float own_gradient = 0, total = tiny, along = 0;
    bool taken[n] = {};
    if (there && team.lane < top_k) {
      own_choice = static_cast<int>(chosen[token * top_k + team.lane]);
      own_gradient = dweights[token * top_k + team.lane];
    }
    for (int k = 0; k < top_k; ++k) {
      const int choice = team.broadcast(own_choice, k);
      const float gradient = team.broadcast(own_gradient, k);
#pragma unroll
      for (int i = 0; i < n; ++i)
        if (team.expert(i) == choice) taken[i] = true, d[i] = gradient;
    }
    if (shape.normalise) {
      float part = 0, part_along = 0;
#pragma unroll
      for (int i = 0; i < n; ++i)
        if (taken[i]) part += scores.score(i), part_along += d[i] * scores.score(i);
      total += team.sum(part);
      along = team.sum(part_along) / total;
    } else {
      total = 1;
    }
#pragma unroll
    for (int i = 0; i < n; ++i)
      if (taken[i]) d[i] = shape.scaling * (d[i] - along) / total;
  }

  if (dbalance != nullptr) {
    const float seed = counted ? *dbalance : 0.0F;
    const float* const slopes = slope + (there ? token / shape.length : 0) * experts;
    float dshare[n], mean = 0;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      dshare[i] = team.expert(i) < experts ? seed * slopes[team.expert(i)] : 0.0F;
      if constexpr (!softmax) mean += dshare[i] * scores.share(i);
    }
    if constexpr (!softmax) mean = team.sum(mean);
#pragma unroll
    for (int i = 0; i < n; ++i) d[i] += (dshare[i] - mean) / scores.sum;
  }

  float mean = 0;
  if constexpr (softmax) {
#pragma unroll
    for (int i = 0; i < n; ++i) mean += d[i] * scores.probability[i];
    mean = team.sum(mean);
  }
  const float z = dz != nullptr && counted ? 2 * *dz * scores.lse : 0.0F;
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const float score = scores.score(i);
    const float by_logit = softmax ? score * (d[i] - mean) : d[i] * score * (1 - score);
    if (there && team.expert(i) < experts)
      dlogits[token * experts + team.expert(i)] = by_logit + z * scores.probability[i];
  }
}

/// body(n, softmax) as types of constants, n being the experts that a lane has.
template <class Body>
void dispatch(const RouteShape& shape, const Body& body) {
  const auto with = [&]<int n>() {
    shape.softmax ? body.template operator()<n, true>() : body.template operator()<n, false>();
  };
  const int each = (shape.experts + warp - 1) / warp;
  if (each <= 1) return with.template operator()<1>();
  if (each <= 2) return with.template operator()<2>();
  if (each <= 4) return with.template operator()<4>();
  if (each <= 8) return with.template operator()<8>();
  with.template operator()<16>();
}

} // namespace

std::int64_t route_blocks(const RouteShape& shape) { return (shape.length + tokens_of_block - 1) / tokens_of_block; }

void route(const RouteShape& shape, const float* logits, const float* bias, const bool* mask, float* weights,
           std::int64_t* chosen, float* sums, cudaStream_t stream) {
  if (shape.tokens() == 0) return;
  const auto grid = static_cast<unsigned>(shape.sequences * route_blocks(shape));
  const int lanes = lanes_for(shape.experts), teams = threads / lanes;
  const auto shared = static_cast<unsigned>(teams * shape.experts + teams + shape.experts) * sizeof(float);
  dispatch(shape, [&]<int n, bool softmax>() {
    forward<n, softmax><<<grid, threads, shared, stream>>>(shape, route_blocks(shape), lanes, logits, bias, mask,
                                                           weights, chosen, sums);
  });
}

void route_losses(const RouteShape& shape, const float* sums, const BalanceShares& shares, double* totals,
                  std::int64_t* counts, float* balance, float* z, float* slope, cudaStream_t stream) {
  const auto shared = static_cast<unsigned>(shape.experts) * sizeof(double);
  losses<<<1, threads_of_losses, shared, stream>>>(shape, route_blocks(shape), sums, shares, totals, counts, balance, z,
                                                   slope);
}

void route_backward(const RouteShape& shape, const float* logits, const bool* mask, const std::int64_t* chosen,
                    const float* slope, const float* dweights, const float* dbalance, const float* dz, float* dlogits,
                    cudaStream_t stream) {
  if (shape.tokens() == 0) return;
  const int lanes = lanes_for(shape.experts), teams = threads / lanes;
  const auto blocks = static_cast<unsigned>((shape.tokens() + teams - 1) / teams);
  dispatch(shape, [&]<int n, bool softmax>() {
    backward<n, softmax>
        <<<blocks, threads, 0, stream>>>(shape, lanes, logits, mask, chosen, slope, dweights, dbalance, dz, dlogits);
  });
}

} // namespace conclave::cuda
