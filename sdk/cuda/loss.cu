// Cross entropy of rows of logits and its gradient: a block for each row, which reads it once for the maximum and the sum of
// exponentials together, and keeps as much of it as fits in shared memory for the gradient. The rest of a long row is read once
// more, soon enough to come from the L2 cache.
//
// Bytes that must move, for V columns: 4 V read, and b V written for a gradient of b bytes a number.

#include "loss.hpp"

#include <cfloat>

#include <algorithm>

#include "dispatch.cuh"

namespace conclave::cuda {
namespace {

constexpr int most_threads = 1024;
/// Loads that a thread has under way.
constexpr int at_once = 4;

/// The maximum, and the sum of exp(x - maximum). Of no numbers: `lowest` and 0, with which -inf needs no care.
struct Partition {
  float maximum, sum;
};
constexpr float lowest = -FLT_MAX;

__device__ inline Partition joined(Partition a, Partition b) {
  const float maximum = fmaxf(a.maximum, b.maximum);
  return {maximum, a.sum * __expf(a.maximum - maximum) + b.sum * __expf(b.maximum - maximum)};
}

__device__ inline Partition warp_join(Partition p) {
#pragma unroll
  for (int distance = warp / 2; distance > 0; distance /= 2)
    p = joined(p, {__shfl_xor_sync(0xffffffffu, p.maximum, distance), __shfl_xor_sync(0xffffffffu, p.sum, distance)});
  return p;
}

template <class T, int n>
struct alignas(n * sizeof(T)) Some {
  T values[n];
};

/// `n` numbers at a time: 4 where rows are whole 16-byte units, else 1; the first `held` such pieces stay in shared memory.
template <class T, int n, bool has_gradient>
__global__ void __launch_bounds__(most_threads) rows(const CrossEntropy c, int held) {
  extern __shared__ float4 shared[];
  __shared__ Partition parts[warp];
  __shared__ float scratch[33];
  const std::int64_t row = blockIdx.x;
  const auto* const x = reinterpret_cast<const Some<float, n>*>(c.logits + row * c.columns);
  auto* const gradient = reinterpret_cast<Some<T, n>*>(static_cast<T*>(c.gradient) + row * c.columns);
  auto* const kept = reinterpret_cast<Some<float, n>*>(shared); // a thread reads what it has written
  const int pieces = static_cast<int>(c.columns / n), self = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);

  if (!c.mask[row]) {
    if (self == 0) c.loss[row] = c.nll[row] = 0;
    if constexpr (has_gradient) {
      Some<T, n> none;
#pragma unroll
      for (int j = 0; j < n; ++j) none.values[j] = from_float<T>(0);
      for (int i = self; i < pieces; i += threads) gradient[i] = none;
    }
    return;
  }

  Partition own{lowest, 0};
  float total = 0; // of logits, for smoothing
  for (int first = self; first < pieces; first += at_once * threads) {
    Some<float, n> some[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u)
      if (first + u * threads < pieces) some[u] = x[first + u * threads];
    float maximum = own.maximum;
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      if (first + u * threads >= pieces) break;
#pragma unroll
      for (int j = 0; j < n; ++j) maximum = fmaxf(maximum, some[u].values[j]);
    }
    own = {maximum, own.sum * __expf(own.maximum - maximum)};
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const int i = first + u * threads;
      if (i >= pieces) break;
      if (has_gradient && i < held) kept[i] = some[u];
#pragma unroll
      for (int j = 0; j < n; ++j) own.sum += __expf(some[u].values[j] - maximum), total += some[u].values[j];
    }
  }
  own = warp_join(own);
  const int lane = self % warp;
  if (lane == 0) parts[self / warp] = own;
  __syncthreads();
  own = warp_join(lane < threads / warp ? parts[lane] : Partition{lowest, 0});
  if (c.label_smoothing > 0) total = block_sum(total, scratch);

  const float lse = own.maximum + logf(own.sum), smoothing = c.label_smoothing;
  const float vocabulary = static_cast<float>(c.columns);
  const std::int64_t label = c.labels[row];
  if (self == 0) {
    const float nll = lse - c.logits[row * c.columns + label];
    float loss = nll;
    if (smoothing > 0) loss = nll * (1 - smoothing) + (lse - total / vocabulary) * smoothing;
    c.nll[row] = nll;
    c.loss[row] = loss + c.z_loss * lse * lse;
  }
  if constexpr (has_gradient) {
    const float factor = (1 + 2 * c.z_loss * lse) / own.sum, share = smoothing / vocabulary;
    const auto write = [&](int i, const Some<float, n>& logits) {
      float g[n];
#pragma unroll
      for (int j = 0; j < n; ++j) {
        g[j] = __expf(logits.values[j] - own.maximum) * factor - share;
        if (i * static_cast<std::int64_t>(n) + j == label) g[j] -= 1 - smoothing;
      }
      Some<T, n> out;
#pragma unroll
      for (int j = 0; j < n; ++j) out.values[j] = from_float<T>(g[j]);
      gradient[i] = out;
    };
    for (int first = self; first < pieces; first += at_once * threads) {
      Some<float, n> some[at_once];
#pragma unroll
      for (int u = 0; u < at_once; ++u) {
        const int i = first + u * threads;
        if (i < pieces) some[u] = i < held ? kept[i] : x[i];
      }
#pragma unroll
      for (int u = 0; u < at_once; ++u)
        if (first + u * threads < pieces) write(first + u * threads, some[u]);
    }
  }
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, which, device);
  return value;
}

struct Plan {
  int threads;
  std::int64_t shared; ///< bytes for each block
};

/// Two blocks on a multiprocessor, of which one reads while the other writes; one alone where the L2 cache would not hold what two
/// leave there.
Plan plan_for(const CrossEntropy& c) {
  constexpr std::int64_t others = 2048; // bytes of shared memory that a block has besides
  const std::int64_t row = c.columns * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t all = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  const std::int64_t most = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - others;
  const std::int64_t half = all / 2 - others;
  const std::int64_t left = std::max<std::int64_t>(row - half, 0) * 2 * multiprocessors();
  if (left <= attribute(cudaDevAttrL2CacheSize) / 2) return {most_threads / 2, std::min(half, row)};
  return {most_threads, std::min(most, row)};
}

template <class T, int n>
void launch(const CrossEntropy& c, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(c.rows);
  if (c.gradient == nullptr) return rows<T, n, false><<<blocks, most_threads / 2, 0, stream>>>(c, 0);
  constexpr int piece = n * static_cast<int>(sizeof(float));
  const Plan plan = plan_for(c);
  const int held = static_cast<int>(plan.shared / piece);
  const auto kernel = rows<T, n, true>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, held * piece);
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  kernel<<<blocks, plan.threads, static_cast<unsigned>(held * piece), stream>>>(c, held);
}

} // namespace

void cross_entropy(const CrossEntropy& c, cudaStream_t stream) {
  if (c.rows == 0) return;
  dispatch(c.type, [&]<class T>(T) { c.columns % 4 == 0 ? launch<T, 4>(c, stream) : launch<T, 1>(c, stream); });
}

} // namespace conclave::cuda
