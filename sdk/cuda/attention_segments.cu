// Where segments lie: one block a row, once for each forward pass; bytes do not matter.

#include "attention_segments.hpp"

#include "device.cuh"

namespace conclave::cuda {
namespace {

constexpr int threads = 1024;

struct Most {
  __device__ int operator()(int a, int b) const { return a > b ? a : b; }
};
struct Least {
  __device__ int operator()(int a, int b) const { return a < b ? a : b; }
};
struct Sum {
  __device__ int operator()(int a, int b) const { return a + b; }
};

/// What `op` makes of x in all places before this thread's; `place` counts the block's threads in some order.
template <class Op>
__device__ int before(int x, int place, int nothing, int* scratch, Op op) {
  __syncthreads(); // scratch may be in use
  scratch[place] = x;
  __syncthreads();
  for (int distance = 1; distance < threads; distance *= 2) {
    const int other = place >= distance ? scratch[place - distance] : nothing;
    __syncthreads();
    x = op(other, x);
    scratch[place] = x;
    __syncthreads();
  }
  return place > 0 ? scratch[place - 1] : nothing;
}

__device__ int class_of(const SegmentClasses& classes, int length) {
  for (int c = 0; c < classes.count; ++c)
    if (length > classes.of[c].above) return c;
  return -1;
}

/// A thread has a part of the row, in the threads' order.
__global__ void find(const SegmentClasses classes, int length, const std::int32_t* all_ids, std::int32_t* begins,
                     std::int32_t* ends, std::int32_t* offsets, std::int32_t* lengths) {
  __shared__ int scratch[threads];
  const int row = static_cast<int>(blockIdx.x), base = row * length, thread = static_cast<int>(threadIdx.x);
  const int part = (length + threads - 1) / threads;
  const int from = min(thread * part, length), to = min(from + part, length);
  const std::int32_t* ids = all_ids + base;
  const auto starts = [&](int i) { return i == 0 || ids[i] != ids[i - 1]; };

  int first = length, last = -1;
  for (int i = from; i < to; ++i) {
    if (!starts(i)) continue;
    if (last < 0) first = i;
    last = i;
  }
  int begin = before(last, thread, -1, scratch, Most{});
  int end = before(first, threads - 1 - thread, length, scratch, Least{});
  for (int i = from; i < to; ++i) {
    if (starts(i)) begin = i;
    begins[base + i] = base + begin;
  }
  for (int i = to - 1; i >= from; --i) {
    ends[base + i] = base + end;
    if (starts(i)) end = i;
  }

  for (int c = 0; c < classes.count; ++c) {
    const SegmentClass& kind = classes.of[c];
    const auto belongs = [&](int i) { return starts(i) && class_of(classes, ends[base + i] - base - i) == c; };
    int count = 0;
    for (int i = from; i < to; ++i) count += belongs(i) ? 1 : 0;
    const int place = before(count, thread, 0, scratch, Sum{}), used = scratch[threads - 1];
    int slot = kind.first + row * kind.per_row + place;
    for (int i = from; i < to; ++i) {
      if (!belongs(i)) continue;
      offsets[slot] = base + i;
      lengths[slot] = ends[base + i] - base - i;
      ++slot;
    }
    const auto leave_unused = [&](int begin_slot, int end_slot) {
      for (int s = begin_slot + thread; s < end_slot; s += threads) {
        offsets[s] = base + length;
        lengths[s] = 0;
      }
    };
    const int row_first = kind.first + row * kind.per_row;
    leave_unused(row_first + used, row_first + kind.per_row);
    if (row == static_cast<int>(gridDim.x) - 1) // and those after the last row
      leave_unused(kind.first + kind.slots, c + 1 < classes.count ? classes.of[c + 1].first : classes.slots);
  }
}

__global__ void scale(const std::int32_t* from, std::int32_t slots, const SegmentWidths widths, std::int64_t* to) {
  const int slot = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (slot >= slots) return;
  const std::int64_t token = from[slot];
#pragma unroll
  for (int i = 0; i < segment_widths; ++i) to[i * static_cast<std::int64_t>(slots) + slot] = token * widths.of[i];
}

} // namespace

SegmentClasses segment_classes(std::int64_t batch, std::int64_t length) {
  constexpr std::int64_t ratio = 8, plain = 192; // a plain kernel's tokens see at most 192 others
  SegmentClasses classes;
  std::int64_t longest = length, slots = 0;
  while (longest > plain) {
    const std::int64_t above = longest / ratio, per_row = length / (above + 1), used = batch * per_row;
    classes.of[classes.count++] = {static_cast<std::int32_t>(longest), static_cast<std::int32_t>(above),
                                   static_cast<std::int32_t>(per_row), static_cast<std::int32_t>(slots),
                                   static_cast<std::int32_t>(used)};
    slots += (used + 1 + 3) / 4 * 4;
    longest = above;
  }
  classes.slots = static_cast<std::int32_t>(slots);
  classes.plain = static_cast<std::int32_t>(longest);
  return classes;
}

void find_segments(const SegmentClasses& classes, std::int64_t batch, std::int64_t length, const std::int32_t* ids,
                   const SegmentTables& tables, cudaStream_t stream) {
  find<<<static_cast<unsigned>(batch), threads, 0, stream>>>(classes, static_cast<int>(length), ids, tables.spans,
                                                             tables.spans + batch * length, tables.offsets,
                                                             tables.lengths);
}

void scale_offsets(const std::int32_t* from, std::int32_t slots, const SegmentWidths& widths, std::int64_t* to,
                   cudaStream_t stream) {
  constexpr int block = 256;
  scale<<<static_cast<unsigned>((slots + block - 1) / block), block, 0, stream>>>(from, slots, widths, to);
}

} // namespace conclave::cuda
