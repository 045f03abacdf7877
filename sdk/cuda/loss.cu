// Cross entropy of rows of logits and its gradient: a block for each row, which reads it once for the maximum and the sum of
// exponentials together, and once more, out of the L2 cache, for the gradient.
//
// Bytes that must move, for V columns: 4 V read, and b V written for a gradient of b bytes a number.

#include "loss.hpp"

#include "dispatch.cuh"

namespace conclave::cuda {
namespace {

/// The maximum, and the sum of exp(x - maximum).
struct Partition {
  float maximum, sum;
};

__device__ inline Partition joined(Partition a, Partition b) {
  const float maximum = fmaxf(a.maximum, b.maximum);
  if (maximum == -INFINITY) return {maximum, 0};
  return {maximum, a.sum * __expf(a.maximum - maximum) + b.sum * __expf(b.maximum - maximum)};
}

__device__ inline Partition warp_join(Partition p) {
#pragma unroll
  for (int distance = warp / 2; distance > 0; distance /= 2)
    p = joined(p, {__shfl_xor_sync(0xffffffffu, p.maximum, distance), __shfl_xor_sync(0xffffffffu, p.sum, distance)});
  return p;
}

/// `n` numbers at a time: 4 where rows are whole 16-byte units, else 1.
template <class T, int n, bool has_gradient>
__global__ void rows(CrossEntropy c) {
  __shared__ Partition parts[warp];
  __shared__ float scratch[33];
  const std::int64_t row = blockIdx.x;
  const float* const x = c.logits + row * c.columns;
  T* const gradient = static_cast<T*>(c.gradient) + row * c.columns;
  const std::int64_t vectors = c.columns / n;
  const auto read = [&](std::int64_t v, float(&to)[n]) {
    if constexpr (n == 4) {
      const float4 four = reinterpret_cast<const float4*>(x)[v];
      to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    } else {
      to[0] = x[v];
    }
  };
  struct alignas(n * sizeof(T)) Some {
    T values[n];
  };

  if (!c.mask[row]) {
    if (threadIdx.x == 0) c.loss[row] = c.nll[row] = 0;
    if constexpr (has_gradient)
      for (std::int64_t v = threadIdx.x; v < vectors; v += blockDim.x) {
        Some none;
        for (int j = 0; j < n; ++j) none.values[j] = from_float<T>(0);
        reinterpret_cast<Some*>(gradient)[v] = none;
      }
    return;
  }

  Partition own{-INFINITY, 0};
  float total = 0; // of logits, for smoothing
  for (std::int64_t v = threadIdx.x; v < vectors; v += blockDim.x) {
    float value[n];
    read(v, value);
    float maximum = own.maximum;
#pragma unroll
    for (int j = 0; j < n; ++j) maximum = fmaxf(maximum, value[j]), total += value[j];
    own.sum *= own.maximum == maximum ? 1.0F : __expf(own.maximum - maximum);
    own.maximum = maximum;
#pragma unroll
    for (int j = 0; j < n; ++j) own.sum += __expf(value[j] - maximum);
  }
  own = warp_join(own);
  const int lane = static_cast<int>(threadIdx.x) % warp, warps = static_cast<int>(blockDim.x) / warp;
  if (lane == 0) parts[threadIdx.x / warp] = own;
  __syncthreads();
  own = warp_join(lane < warps ? parts[lane] : Partition{-INFINITY, 0});
  if (c.label_smoothing > 0) total = block_sum(total, scratch);

  const float lse = own.maximum + logf(own.sum), smoothing = c.label_smoothing;
  const float vocabulary = static_cast<float>(c.columns);
  const std::int64_t label = c.labels[row];
  if (threadIdx.x == 0) {
    const float nll = lse - x[label];
    float loss = nll;
    if (smoothing > 0) loss = nll * (1 - smoothing) + (lse - total / vocabulary) * smoothing;
    c.nll[row] = nll;
    c.loss[row] = loss + c.z_loss * lse * lse;
  }
  if constexpr (has_gradient) {
    const float factor = (1 + 2 * c.z_loss * lse) / own.sum, share = smoothing / vocabulary;
    for (std::int64_t v = threadIdx.x; v < vectors; v += blockDim.x) {
      float value[n];
      read(v, value);
      Some some;
#pragma unroll
      for (int j = 0; j < n; ++j) {
        float g = __expf(value[j] - own.maximum) * factor - share;
        if (v * n + j == label) g -= 1 - smoothing;
        some.values[j] = from_float<T>(g);
      }
      reinterpret_cast<Some*>(gradient)[v] = some;
    }
  }
}

template <class T, int n>
void launch(const CrossEntropy& c, cudaStream_t stream) {
  constexpr int threads = 512;
  const auto blocks = static_cast<unsigned>(c.rows);
  if (c.gradient != nullptr)
    rows<T, n, true><<<blocks, threads, 0, stream>>>(c);
  else
    rows<T, n, false><<<blocks, threads, 0, stream>>>(c);
}

} // namespace

void cross_entropy(const CrossEntropy& c, cudaStream_t stream) {
  if (c.rows == 0) return;
  dispatch(c.type, [&]<class T>(T) { c.columns % 4 == 0 ? launch<T, 4>(c, stream) : launch<T, 1>(c, stream); });
}

} // namespace conclave::cuda
