// A product in fp32 as products of bf16 parts: splitting the factors, and adding up what comes out.
//
// Bytes that must move, for each number: split 4 read and 12 written, sum 12 read and 4 written.

#include "split.hpp"

#include "device.cuh"

namespace conclave::cuda {
namespace {

constexpr int threads = 256;
constexpr int four = 4;

/// part[i] is what stands in the i-th place. Of the nine products of parts six meet, the small ones first; the others are below
/// 2^-26 of the whole. The first three places of either factor hold all its parts.
struct Order {
  int part[6];
};
constexpr Order left_order{{0, 1, 2, 0, 1, 0}}, right_order{{2, 1, 0, 1, 0, 0}};

template <bool left>
__global__ void split(const float* x, std::int64_t rows, std::int64_t columns, __nv_bfloat16* parts) {
  const std::int64_t v = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x, first = v * four;
  if (first >= rows * columns) return;
  float rest[four];
  load(x, v, rest);
  union Packed {
    uint2 bits;
    __nv_bfloat16 values[four];
    __device__ Packed() {}
  } part[3];
#pragma unroll
  for (int p = 0; p < 3; ++p) {
#pragma unroll
    for (int j = 0; j < four; ++j) {
      part[p].values[j] = __float2bfloat16_rn(rest[j]);
      rest[j] -= __bfloat162float(part[p].values[j]);
    }
  }
  const std::int64_t row = first / columns;
  parts += left ? row * 6 * columns + first % columns : first;
  const std::int64_t step = left ? columns : rows * columns;
  constexpr Order order = left ? left_order : right_order;
#pragma unroll
  for (int i = 0; i < 6; ++i) *reinterpret_cast<uint2*>(parts + i * step) = part[order.part[i]].bits;
}

/// A number a thread: `out` may stand anywhere in a larger tensor.
__global__ void sum(const float* in, std::int64_t rows, std::int64_t columns, float* out, bool accumulate) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= rows * columns) return;
  in += i / columns * 3 * columns + i % columns;
  const float total = in[0] + in[columns] + in[2 * columns];
  out[i] = accumulate ? out[i] + total : total;
}

unsigned blocks_of(std::int64_t items) { return static_cast<unsigned>((items + threads - 1) / threads); }

} // namespace

void split_factor(const float* x, std::int64_t rows, std::int64_t columns, bool left, void* parts,
                  cudaStream_t stream) {
  const std::int64_t vectors = rows * columns / four;
  if (vectors == 0) return;
  auto* const to = static_cast<__nv_bfloat16*>(parts);
  left ? split<true><<<blocks_of(vectors), threads, 0, stream>>>(x, rows, columns, to)
       : split<false><<<blocks_of(vectors), threads, 0, stream>>>(x, rows, columns, to);
}

void sum_parts(const float* in, std::int64_t rows, std::int64_t columns, float* out, bool accumulate,
               cudaStream_t stream) {
  if (rows * columns == 0) return;
  sum<<<blocks_of(rows * columns), threads, 0, stream>>>(in, rows, columns, out, accumulate);
}

} // namespace conclave::cuda
