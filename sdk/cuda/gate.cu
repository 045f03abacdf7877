// head_gate: some lanes of a warp take a head of a token together, and several heads each.
//
// Bytes that must move, for rows of D numbers of b bytes: forward 2 D b, backward 3 D b; the logits are one number a row.

#include "dispatch.cuh"
#include "gate.hpp"

namespace conclave::cuda {
namespace {

constexpr int warps = 8;
constexpr int at_once = 4;

__device__ float sigmoid_of(float x) { return 1.0F / (1.0F + expf(-x)); }

/// Lanes that take a row: a power of 2.
int lanes_of(std::int64_t vectors) {
  int lanes = 1;
  while (lanes < warp && lanes < vectors) lanes *= 2;
  return lanes;
}

/// The first of this lane's rows; the others follow at distances of warp / lanes.
__device__ std::int64_t first_row(int lanes) {
  const std::int64_t number = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / warp;
  const int slots = warp / lanes;
  return number * slots * at_once + static_cast<int>(threadIdx.x) % warp / lanes;
}

template <class T>
__global__ void forward(const T* x, const T* logits, std::int64_t rows, std::int64_t width, int lanes, T* y) {
  constexpr int n = per_vector<T>;
  const std::int64_t first = first_row(lanes), vectors = width / n;
  const int slots = warp / lanes;
  float gate[at_once] = {};
#pragma unroll
  for (int u = 0; u < at_once; ++u) {
    const std::int64_t row = first + u * slots;
    if (row < rows) gate[u] = 2 * sigmoid_of(to_float(logits[row]));
  }
  for (std::int64_t v = static_cast<int>(threadIdx.x) % lanes; v < vectors; v += lanes) {
    Vector<T> packed[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const std::int64_t row = first + u * slots;
      if (row < rows) packed[u] = fetch(x + row * width, v);
    }
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const std::int64_t row = first + u * slots;
      if (row >= rows) break;
      float values[n];
      unpack(packed[u], values);
#pragma unroll
      for (int j = 0; j < n; ++j) values[j] *= gate[u];
      store(y + row * width, v, values);
    }
  }
}

template <class T>
__global__ void backward(const T* dy, const T* x, const T* logits, std::int64_t rows, std::int64_t width, int lanes,
                         T* dx, T* dlogits) {
  constexpr int n = per_vector<T>;
  const std::int64_t first = first_row(lanes), vectors = width / n;
  const int slots = warp / lanes, lane = static_cast<int>(threadIdx.x) % lanes;
  float share[at_once] = {}, dot[at_once] = {};
#pragma unroll
  for (int u = 0; u < at_once; ++u) {
    const std::int64_t row = first + u * slots;
    if (row < rows) share[u] = sigmoid_of(to_float(logits[row]));
  }
  for (std::int64_t v = lane; v < vectors; v += lanes) {
    Vector<T> packed_g[at_once], packed_x[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const std::int64_t row = first + u * slots;
      if (row >= rows) break;
      packed_g[u] = fetch(dy + row * width, v);
      packed_x[u] = fetch(x + row * width, v);
    }
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const std::int64_t row = first + u * slots;
      if (row >= rows) break;
      float g[n], values[n];
      unpack(packed_g[u], g);
      unpack(packed_x[u], values);
#pragma unroll
      for (int j = 0; j < n; ++j) {
        dot[u] += g[j] * values[j];
        g[j] *= 2 * share[u];
      }
      store(dx + row * width, v, g);
    }
  }
#pragma unroll
  for (int u = 0; u < at_once; ++u) {
    const std::int64_t row = first + u * slots;
    const float sum = warp_sum(dot[u], lanes);
    if (lane == 0 && row < rows) dlogits[row] = from_float<T>(sum * 2 * share[u] * (1 - share[u]));
  }
}

unsigned blocks_of(const HeadGateShape& shape, int lanes) {
  const std::int64_t rows = static_cast<std::int64_t>(warps) * (warp / lanes) * at_once;
  return static_cast<unsigned>((shape.rows + rows - 1) / rows);
}

} // namespace

void head_gate(const HeadGateShape& shape, const void* x, const void* logits, void* y, cudaStream_t stream) {
  dispatch(shape.type, [&]<class T>(T) {
    const int lanes = lanes_of(shape.width / per_vector<T>);
    forward<T><<<blocks_of(shape, lanes), warps * warp, 0, stream>>>(
        static_cast<const T*>(x), static_cast<const T*>(logits), shape.rows, shape.width, lanes, static_cast<T*>(y));
  });
}

void head_gate_backward(const HeadGateShape& shape, const void* dy, const void* x, const void* logits, void* dx,
                        void* dlogits, cudaStream_t stream) {
  dispatch(shape.type, [&]<class T>(T) {
    const int lanes = lanes_of(shape.width / per_vector<T>);
    backward<T><<<blocks_of(shape, lanes), warps * warp, 0, stream>>>(
        static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const T*>(logits), shape.rows, shape.width,
        lanes, static_cast<T*>(dx), static_cast<T*>(dlogits));
  });
}

} // namespace conclave::cuda
