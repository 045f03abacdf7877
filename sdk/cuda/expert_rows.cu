// Rows by expert: a stable counting sort of the choices, and gathers. No atomics on floating numbers: a token's rows are summed
// in the order of its choices.
//
// Bytes that must move, for R rows of D numbers of b bytes: gather 2 R D b; sum over K choices (1 + 1 / K) R D b, and R D b / K more
// with an addend. The sort moves a few bytes for each choice.

#include "expert_rows.hpp"

#include <type_traits>

#include "dispatch.cuh"

namespace conclave::cuda {
namespace {

// ---- sort ------------------------------------------------------------------------------------------------------------

/// Choices of one warp, 32 at a time in their order; all are loaded at once.
constexpr int rounds = 16;
constexpr std::int64_t sorted_at_once = rounds * warp;

/// This lane's choices of block blockIdx.x, -1 beyond the last.
__device__ inline void load_choices(const std::int64_t* experts, std::int64_t pairs, int (&to)[rounds]) {
  const std::int64_t first = blockIdx.x * sorted_at_once + threadIdx.x;
#pragma unroll
  for (int r = 0; r < rounds; ++r) to[r] = first + r * warp < pairs ? static_cast<int>(experts[first + r * warp]) : -1;
}

/// counts [experts, blocks]: how many choices of each block name each expert.
__global__ void count_choices(const std::int64_t* experts, std::int64_t pairs, int expert_count, std::int32_t* counts) {
  extern __shared__ std::int32_t own[];
  int chosen[rounds];
  load_choices(experts, pairs, chosen);
  for (int e = static_cast<int>(threadIdx.x); e < expert_count; e += warp) own[e] = 0;
  __syncwarp();
#pragma unroll
  for (const int expert : chosen)
    if (expert >= 0) atomicAdd(&own[expert], 1);
  __syncwarp();
  for (int e = static_cast<int>(threadIdx.x); e < expert_count; e += warp)
    counts[static_cast<std::int64_t>(e) * gridDim.x + blockIdx.x] = own[e];
}

/// counts become the first row of each block's choices of each expert; one block, a warp for one expert after another.
__global__ void scan_counts(std::int32_t* counts, std::int64_t blocks, int expert_count, std::int32_t* ends) {
  extern __shared__ std::int32_t totals[];
  const int lane = static_cast<int>(threadIdx.x) % warp, number = static_cast<int>(threadIdx.x) / warp;
  const int warps = static_cast<int>(blockDim.x) / warp;
  for (int e = number; e < expert_count; e += warps) {
    std::int32_t* const row = counts + e * blocks;
    std::int32_t before = 0;
    for (std::int64_t first = 0; first < blocks; first += warp) {
      const std::int64_t b = first + lane;
      const std::int32_t count = b < blocks ? row[b] : 0;
      std::int32_t sum = count;
#pragma unroll
      for (int distance = 1; distance < warp; distance *= 2) {
        const std::int32_t other = __shfl_up_sync(0xffffffffu, sum, distance);
        if (lane >= distance) sum += other;
      }
      if (b < blocks) row[b] = before + sum - count;
      before += __shfl_sync(0xffffffffu, sum, warp - 1);
    }
    if (lane == 0) totals[e] = before;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    std::int32_t end = 0;
    for (int e = 0; e < expert_count; ++e) {
      end += totals[e];
      ends[e] = end;
    }
  }
}

__global__ void place_choices(const std::int64_t* experts, std::int64_t pairs, std::int64_t choices, int expert_count,
                              const std::int32_t* counts, const std::int32_t* ends, std::int64_t* pair,
                              std::int64_t* source, std::int64_t* position) {
  extern __shared__ std::int32_t next[];
  int chosen[rounds];
  load_choices(experts, pairs, chosen);
  for (int e = static_cast<int>(threadIdx.x); e < expert_count; e += warp)
    next[e] = counts[static_cast<std::int64_t>(e) * gridDim.x + blockIdx.x] + (e > 0 ? ends[e - 1] : 0);
  __syncwarp();
  const std::int64_t first = blockIdx.x * sorted_at_once + threadIdx.x;
#pragma unroll
  for (int r = 0; r < rounds; ++r) {
    const std::int64_t i = first + r * warp;
    const int expert = chosen[r];
    const unsigned same = __match_any_sync(0xffffffffu, expert);
    const int before = __popc(same & ((1u << threadIdx.x) - 1));
    const std::int32_t row = expert >= 0 ? next[expert] + before : 0;
    __syncwarp();
    if (expert >= 0) {
      if (before == 0) next[expert] += __popc(same);
      pair[row] = i;
      source[row] = i / choices;
      position[i] = row;
    }
    __syncwarp();
  }
}

// ---- rows ------------------------------------------------------------------------------------------------------------

constexpr int threads_of_rows = 256;
/// Loads that a thread has under way: rows of a gather, choices of a sum whose number the compiler does not know.
constexpr int at_once = 4;

/// A thread for each vector of a row, or several; whole blocks take whole rows where rows are long.
struct RowGrid {
  dim3 blocks, threads;
};
RowGrid row_grid(std::int64_t rows, std::int64_t vectors) {
  int x = warp;
  while (x < vectors && x < threads_of_rows) x *= 2;
  const int y = threads_of_rows / x;
  return {dim3(static_cast<unsigned>((rows + y - 1) / y)), dim3(static_cast<unsigned>(x), static_cast<unsigned>(y))};
}

__global__ void gather(const uint4* from, const std::int64_t* source, std::int64_t rows, std::int64_t vectors,
                       uint4* to) {
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y) * at_once;
  std::int64_t begin[at_once];
#pragma unroll
  for (int u = 0; u < at_once; ++u) begin[u] = first + u < rows ? source[first + u] * vectors : 0;
  for (std::int64_t v = threadIdx.x; v < vectors; v += blockDim.x) {
    uint4 some[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u)
      if (first + u < rows) some[u] = from[begin[u] + v];
#pragma unroll
    for (int u = 0; u < at_once; ++u)
      if (first + u < rows) to[(first + u) * vectors + v] = some[u];
  }
}

/// `known` choices, whose loads then are all under way at once; 0: as many as the argument says.
template <class T, int known, bool has_addend>
__global__ void sum(const T* from, const std::int64_t* position, std::int64_t rows, std::int64_t width,
                    std::int64_t choices, const T* addend, T* to) {
  constexpr int n = per_vector<T>, step = known > 0 ? known : at_once;
  if constexpr (known > 0) choices = known;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= rows) return;
  position += row * choices;
  for (std::int64_t v = threadIdx.x; v < width / n; v += blockDim.x) {
    float total[n] = {};
    Vector<T> extra;
    if constexpr (has_addend) extra = fetch(addend + row * width, v);
    const auto add = [&](const Vector<T>& vector) {
      float next[n];
      unpack(vector, next);
#pragma unroll
      for (int j = 0; j < n; ++j) total[j] += next[j];
    };
    for (std::int64_t k = 0; k < choices; k += step) {
      Vector<T> some[step];
#pragma unroll
      for (int u = 0; u < step; ++u)
        if (k + u < choices) some[u] = fetch(from + position[k + u] * width, v);
#pragma unroll
      for (int u = 0; u < step; ++u)
        if (k + u < choices) add(some[u]);
    }
    if constexpr (has_addend) add(extra);
    store(to + row * width, v, total);
  }
}

} // namespace

std::int64_t sort_blocks(std::int64_t pairs) { return (pairs + sorted_at_once - 1) / sorted_at_once; }

void sort_by_expert(const std::int64_t* experts, std::int64_t pairs, std::int64_t choices, int expert_count,
                    std::int32_t* counts, std::int64_t* pair, std::int64_t* source, std::int64_t* position,
                    std::int32_t* ends, cudaStream_t stream) {
  const std::int64_t blocks = sort_blocks(pairs);
  const auto grid = static_cast<unsigned>(blocks);
  const std::size_t shared = static_cast<std::size_t>(expert_count) * sizeof(std::int32_t);
  if (blocks > 0) count_choices<<<grid, warp, shared, stream>>>(experts, pairs, expert_count, counts);
  scan_counts<<<1, 1024, shared, stream>>>(counts, blocks, expert_count, ends);
  if (blocks > 0)
    place_choices<<<grid, warp, shared, stream>>>(experts, pairs, choices, expert_count, counts, ends, pair, source,
                                                  position);
}

void gather_rows(const RowShape& shape, const void* from, const std::int64_t* source, void* to, cudaStream_t stream) {
  if (shape.rows == 0) return;
  const std::int64_t vectors = shape.width * (shape.type == Type::fp32 ? 4 : 2) / 16;
  const RowGrid grid = row_grid((shape.rows + at_once - 1) / at_once, vectors);
  gather<<<grid.blocks, grid.threads, 0, stream>>>(static_cast<const uint4*>(from), source, shape.rows, vectors,
                                                   static_cast<uint4*>(to));
}

void sum_choices(const RowShape& shape, const void* from, const std::int64_t* position, std::int64_t choices,
                 const void* addend, void* to, cudaStream_t stream) {
  if (shape.rows == 0) return;
  dispatch(shape.type, [&]<class T>(T) {
    const RowGrid grid = row_grid(shape.rows, shape.width / per_vector<T>);
    const auto launch = [&](auto kernel) {
      kernel<<<grid.blocks, grid.threads, 0, stream>>>(static_cast<const T*>(from), position, shape.rows, shape.width,
                                                       choices, static_cast<const T*>(addend), static_cast<T*>(to));
    };
    const auto launch_known = [&]<int known>(std::integral_constant<int, known>) {
      addend != nullptr ? launch(sum<T, known, true>) : launch(sum<T, known, false>);
    };
    switch (choices) {
      case 1: return launch_known(std::integral_constant<int, 1>{});
      case 2: return launch_known(std::integral_constant<int, 2>{});
      case 4: return launch_known(std::integral_constant<int, 4>{});
      case 6: return launch_known(std::integral_constant<int, 6>{});
      case 8: return launch_known(std::integral_constant<int, 8>{});
      default: return launch_known(std::integral_constant<int, 0>{});
    }
  });
}

} // namespace conclave::cuda
