// rms_norm: a block for each row forward; blocks that walk over rows backward, keeping the weight's gradient in registers.
//
// Bytes that must move, for rows of D numbers of b bytes: forward 2 D b, backward 3 D b (4 D b with an addend).

#include "dispatch.cuh"
#include "norm.hpp"

namespace conclave::cuda {
namespace {

/// Vectors of a row that one thread holds in registers, at most.
constexpr int held = 4;

int threads_for(std::int64_t vectors) {
  const std::int64_t threads = (vectors + held - 1) / held;
  return static_cast<int>((threads + warp - 1) / warp) * warp;
}

template <class T>
__global__ void forward(const T* x, const float* weight, std::int64_t width, float eps, T* y, float* scale) {
  constexpr int n = per_vector<T>;
  __shared__ float scratch[33];
  const std::int64_t row = blockIdx.x;
  const int vectors = static_cast<int>(width / n);
  x += row * width;
  y += row * width;
  float values[held][n];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < held; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (v >= vectors) break;
    load(x, v, values[i]);
#pragma unroll
    for (int j = 0; j < n; ++j) sum += values[i][j] * values[i][j];
  }
  const float s = rsqrtf(block_sum(sum, scratch) / static_cast<float>(width) + eps);
  if (threadIdx.x == 0) scale[row] = s;
#pragma unroll
  for (int i = 0; i < held; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (v >= vectors) break;
#pragma unroll
    for (int j = 0; j < n; ++j) values[i][j] *= s * weight[v * n + j];
    store(y, v, values[i]);
  }
}

/// dx = scale (dy w) - x scale^3 mean(dy w x) + addend.
template <class T, bool has_addend, bool has_weight_gradient>
__global__ void backward(const T* dy, const T* x, const float* weight, const float* scale, const T* addend,
                         std::int64_t rows, std::int64_t width, T* dx, float* partial) {
  constexpr int n = per_vector<T>;
  __shared__ float scratch[33];
  const int vectors = static_cast<int>(width / n);
  float w[held][n], dw[held][n] = {};
#pragma unroll
  for (int i = 0; i < held; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
#pragma unroll
    for (int j = 0; j < n; ++j) w[i][j] = v < vectors ? weight[v * n + j] : 0.0F;
  }
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    float g[held][n], value[held][n], added[held][n];
    const float s = scale[row];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < held; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
      if (v >= vectors) break;
      load(dy + row * width, v, g[i]);
      load(x + row * width, v, value[i]);
      if constexpr (has_addend) load(addend + row * width, v, added[i]);
#pragma unroll
      for (int j = 0; j < n; ++j) {
        if constexpr (has_weight_gradient) dw[i][j] += g[i][j] * value[i][j] * s;
        g[i][j] *= w[i][j];
        sum += g[i][j] * value[i][j];
      }
    }
    const float shift = block_sum(sum, scratch) / static_cast<float>(width) * s * s * s;
#pragma unroll
    for (int i = 0; i < held; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
      if (v >= vectors) break;
#pragma unroll
      for (int j = 0; j < n; ++j) {
        g[i][j] = g[i][j] * s - value[i][j] * shift;
        if constexpr (has_addend) g[i][j] += added[i][j];
      }
      store(dx + row * width, v, g[i]);
    }
  }
  if constexpr (has_weight_gradient) {
#pragma unroll
    for (int i = 0; i < held; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
      if (v >= vectors) break;
#pragma unroll
      for (int j = 0; j < n; ++j) partial[blockIdx.x * width + v * n + j] = dw[i][j];
    }
  }
}

/// 32 columns and 8 rows at a time.
__global__ void add_rows(const float* in, std::int64_t rows, std::int64_t columns, float* out, bool accumulate) {
  __shared__ float parts[8][warp];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * warp + threadIdx.x;
  float sum = 0;
  if (column < columns)
    for (std::int64_t row = threadIdx.y; row < rows; row += 8) sum += in[row * columns + column];
  parts[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int i = 1; i < 8; ++i) sum += parts[i][threadIdx.x];
  out[column] = accumulate ? out[column] + sum : sum;
}

} // namespace

void rms_norm(const RmsNormShape& shape, const void* x, const float* weight, float eps, void* y, float* scale,
              cudaStream_t stream) {
  dispatch(shape.type, [&]<class T>(T) {
    const int threads = threads_for(shape.width / per_vector<T>);
    forward<T><<<static_cast<unsigned>(shape.rows), threads, 0, stream>>>(static_cast<const T*>(x), weight, shape.width,
                                                                          eps, static_cast<T*>(y), scale);
  });
}

std::int64_t rms_norm_partial_rows(const RmsNormShape& shape) {
  // As many blocks as run at once when each has 64 threads of 160 registers.
  const std::int64_t blocks = static_cast<std::int64_t>(multiprocessors()) * 6;
  return shape.rows < blocks ? shape.rows : blocks;
}

void rms_norm_backward(const RmsNormShape& shape, const void* dy, const void* x, const float* weight,
                       const float* scale, const void* addend, void* dx, float* partial, float* dweight,
                       bool accumulate, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(rms_norm_partial_rows(shape));
  dispatch(shape.type, [&]<class T>(T) {
    const int threads = threads_for(shape.width / per_vector<T>);
    const auto launch = [&](auto kernel) {
      kernel<<<blocks, threads, 0, stream>>>(static_cast<const T*>(dy), static_cast<const T*>(x), weight, scale,
                                             static_cast<const T*>(addend), shape.rows, shape.width,
                                             static_cast<T*>(dx), partial);
    };
    if (addend != nullptr)
      dweight != nullptr ? launch(backward<T, true, true>) : launch(backward<T, true, false>);
    else
      dweight != nullptr ? launch(backward<T, false, true>) : launch(backward<T, false, false>);
  });
  if (dweight != nullptr) sum_rows(partial, blocks, shape.width, dweight, accumulate, stream);
}

void sum_rows(const float* in, std::int64_t rows, std::int64_t columns, float* out, bool accumulate,
              cudaStream_t stream) {
  add_rows<<<static_cast<unsigned>((columns + warp - 1) / warp), dim3(warp, 8), 0, stream>>>(in, rows, columns, out,
                                                                                             accumulate);
}

} // namespace conclave::cuda
