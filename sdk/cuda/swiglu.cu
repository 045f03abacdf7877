// SwiGLU over rows [R, 2 F] -> [R, F], with a weight for each row: y = silu(gate) * up * weight, rounded once.
//
// Bytes that must move, for numbers of b bytes: forward 3 R F b; backward 5 R F b, and R F b more for the result again.

#include "dispatch.cuh"
#include "expert_rows.hpp"

namespace conclave::cuda {
namespace {

__device__ inline float sigmoid(float x) { return 1.0F / (1.0F + __expf(-x)); }

template <class T>
__global__ void forward(const T* x, RowWeights in, std::int64_t rows, std::int64_t width, T* y) {
  constexpr int n = per_vector<T>;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const float weight = in.weights != nullptr ? in.weights[in.pair[row]] : 1.0F;
  const T* const gates = x + row * 2 * width;
  for (std::int64_t v = threadIdx.x; v < width / n; v += blockDim.x) {
    float gate[n], up[n];
    load(gates, v, gate);
    load(gates + width, v, up);
#pragma unroll
    for (int j = 0; j < n; ++j) gate[j] = gate[j] * sigmoid(gate[j]) * up[j] * weight;
    store(y + row * width, v, gate);
  }
}

/// A warp for each row, so that the weight's gradient is a sum over its lanes.
template <class T, bool has_result>
__global__ void backward(const T* dy, const T* x, RowWeights in, std::int64_t rows, std::int64_t width, T* dx, T* y,
                         float* dweights) {
  constexpr int n = per_vector<T>;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  const float weight = in.weights != nullptr ? in.weights[in.pair[row]] : 1.0F;
  const T* const gates = x + row * 2 * width;
  T* const dgates = dx + row * 2 * width;
  float sum = 0;
  for (std::int64_t v = threadIdx.x; v < width / n; v += warp) {
    float gate[n], up[n], d[n], result[n];
    load(gates, v, gate);
    load(gates + width, v, up);
    load(dy + row * width, v, d);
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const float s = sigmoid(gate[j]), silu = gate[j] * s, product = silu * up[j];
      sum += d[j] * product;
      result[j] = product * weight;
      d[j] *= weight;
      gate[j] = d[j] * up[j] * (s + silu * (1 - s));
      up[j] = d[j] * silu;
    }
    store(dgates, v, gate);
    store(dgates + width, v, up);
    if constexpr (has_result) store(y + row * width, v, result);
  }
  if (dweights == nullptr) return;
  sum = warp_sum(sum);
  if (threadIdx.x == 0) dweights[in.pair[row]] = sum;
}

constexpr unsigned rows_of_block = 8;

} // namespace

void swiglu(const RowShape& shape, const void* x, RowWeights in, void* y, cudaStream_t stream) {
  if (shape.rows == 0) return;
  const auto blocks = static_cast<unsigned>((shape.rows + rows_of_block - 1) / rows_of_block);
  dispatch(shape.type, [&]<class T>(T) {
    forward<T><<<blocks, dim3(warp, rows_of_block), 0, stream>>>(static_cast<const T*>(x), in, shape.rows, shape.width,
                                                                 static_cast<T*>(y));
  });
}

void swiglu_backward(const RowShape& shape, const void* dy, const void* x, RowWeights in, void* dx, void* y,
                     float* dweights, cudaStream_t stream) {
  if (shape.rows == 0) return;
  const auto blocks = static_cast<unsigned>((shape.rows + rows_of_block - 1) / rows_of_block);
  dispatch(shape.type, [&]<class T>(T) {
    const auto launch = [&](auto kernel) {
      kernel<<<blocks, dim3(warp, rows_of_block), 0, stream>>>(static_cast<const T*>(dy), static_cast<const T*>(x), in,
                                                               shape.rows, shape.width, static_cast<T*>(dx),
                                                               static_cast<T*>(y), dweights);
    };
    y != nullptr ? launch(backward<T, true>) : launch(backward<T, false>);
  });
}

} // namespace conclave::cuda
