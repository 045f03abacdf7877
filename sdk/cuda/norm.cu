// rms_norm: a block for each row forward; blocks that walk over rows backward, keeping the weight's gradient in registers.
//
// Bytes that must move, for rows of D numbers of b bytes: forward 2 D b, backward 3 D b (4 D b with an addend). The weight comes
// from the caches; backward adds 4 D for each block, written and read once.

#include "dispatch.cuh"
#include "norm.hpp"

namespace conclave::cuda {
namespace {

/// Vectors of a row that one thread holds in registers, at most.
constexpr int held = 4;
/// Of a block, at most: leaves each thread the registers that the backward pass wants.
constexpr int most_threads = 512;

int threads_for(std::int64_t vectors) {
  const std::int64_t threads = (vectors + held - 1) / held;
  return static_cast<int>((threads + warp - 1) / warp) * warp;
}

template <class T>
__global__ void __launch_bounds__(most_threads)
    forward(const T* x, const float* weight, std::int64_t width, float eps, T* y, float* scale) {
  constexpr int n = per_vector<T>;
  __shared__ float scratch[33];
  const std::int64_t row = blockIdx.x;
  const int vectors = static_cast<int>(width / n);
  x += row * width;
  y += row * width;
  Vector<T> packed[held];
#pragma unroll
  for (int i = 0; i < held; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (v < vectors) packed[i] = fetch(x, v);
  }
  float value[n], w[n], sum = 0;
#pragma unroll
  for (int i = 0; i < held; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (v >= vectors) break;
    unpack(packed[i], value);
#pragma unroll
    for (int j = 0; j < n; ++j) sum += value[j] * value[j];
  }
  const float s = rsqrtf(block_sum(sum, scratch) / static_cast<float>(width) + eps);
  if (threadIdx.x == 0) scale[row] = s;
#pragma unroll
  for (int i = 0; i < held; ++i) {
    const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
    if (v >= vectors) break;
    unpack(packed[i], value);
    load_floats(weight, v, w);
#pragma unroll
    for (int j = 0; j < n; ++j) value[j] *= s * w[j];
    store(y, v, value);
  }
}

/// dx = scale (dy w) - x scale^3 mean(dy w x) + addend.
template <class T, bool has_addend, bool has_weight_gradient>
__global__ void __launch_bounds__(most_threads)
    backward(const T* dy, const T* x, const float* weight, const float* scale, const T* addend, std::int64_t rows,
             std::int64_t width, T* dx, float* partial) {
  constexpr int n = per_vector<T>;
  __shared__ float scratch[33];
  const int vectors = static_cast<int>(width / n);
  float dw[held][n] = {};
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    Vector<T> packed_g[held], packed_x[held], packed_a[has_addend ? held : 1];
#pragma unroll
    for (int i = 0; i < held; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
      if (v >= vectors) break;
      packed_g[i] = fetch(dy + row * width, v);
      packed_x[i] = fetch(x + row * width, v);
      if constexpr (has_addend) packed_a[i] = fetch(addend + row * width, v);
    }
    const float s = scale[row];
    float g[n], value[n], w[n], sum = 0;
#pragma unroll
    for (int i = 0; i < held; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
      if (v >= vectors) break;
      unpack(packed_g[i], g);
      unpack(packed_x[i], value);
      load_floats(weight, v, w);
#pragma unroll
      for (int j = 0; j < n; ++j) {
        if constexpr (has_weight_gradient) dw[i][j] += g[j] * value[j] * s;
        sum += g[j] * w[j] * value[j];
      }
    }
    const float shift = block_sum(sum, scratch) / static_cast<float>(width) * s * s * s;
#pragma unroll
    for (int i = 0; i < held; ++i) {
      const int v = static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
      if (v >= vectors) break;
      unpack(packed_g[i], g);
      unpack(packed_x[i], value);
      load_floats(weight, v, w);
#pragma unroll
      for (int j = 0; j < n; ++j) g[j] = g[j] * w[j] * s - value[j] * shift;
      if constexpr (has_addend) {
        unpack(packed_a[i], value);
#pragma unroll
        for (int j = 0; j < n; ++j) g[j] += value[j];
      }
      store(dx + row * width, v, g);
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

/// A warp's width of columns of one of the sums; each warp takes every 32nd row, several at a time.
__global__ void add_rows(RowSum first_sum, RowSum second_sum, std::int64_t columns) {
  __shared__ float parts[warp][warp + 1];
  const auto [in, rows, out, accumulate] = blockIdx.y == 0 ? first_sum : second_sum;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * warp, column = first + threadIdx.x;
  float sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (std::int64_t row = threadIdx.y; row < rows; row += warp) sum += in[row * columns + column];
  }
  parts[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  // Now each warp adds up a column.
  const std::int64_t mine = first + threadIdx.y;
  sum = warp_sum(parts[threadIdx.x][threadIdx.y]);
  if (threadIdx.x == 0 && mine < columns) out[mine] = accumulate ? out[mine] + sum : sum;
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
  // As many blocks as run at once when each has 64 threads of 128 registers.
  const std::int64_t blocks = static_cast<std::int64_t>(multiprocessors()) * 8;
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
  if (dweight != nullptr) sum_rows({partial, blocks, dweight, accumulate}, shape.width, stream);
}

void sum_rows(const RowSum& sum, std::int64_t columns, cudaStream_t stream) {
  add_rows<<<static_cast<unsigned>((columns + warp - 1) / warp), dim3(warp, warp), 0, stream>>>(sum, {}, columns);
}

void sum_rows(const RowSum& first, const RowSum& second, std::int64_t columns, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((columns + warp - 1) / warp), 2);
  add_rows<<<grid, dim3(warp, warp), 0, stream>>>(first, second, columns);
}

} // namespace conclave::cuda
