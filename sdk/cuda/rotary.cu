// split_rotary: some lanes of a warp take a head together, each a vector of its low half and the one of its high half that turns
// with it; the warp works on several heads side by side. Forward, a warp takes a token, and its lanes keep their cosines and sines
// for all heads. Backward, it takes a token's queries, keys or values, so that a lane has the weight and the weight's gradient of
// one norm alone in its registers, and has the next heads under way while it works.
//
// Bytes that must move, for tokens of N = (heads + 2 kv_heads) head_width numbers of b bytes: 2 N b either way, and the norms'
// input once more on the way back. Tables and weights come from the caches.

#include <algorithm>

#include "dispatch.cuh"
#include "rotary.hpp"

namespace conclave::cuda {
namespace {

constexpr int warps = 4;
constexpr int threads = warps * warp;
/// Blocks with a norm's sums that a multiprocessor runs at once, at least: bounds their registers.
constexpr int summing_blocks = 4;

/// What a lane does: always the same piece of a head, of every `slots`th head.
template <class T>
struct Place {
  int lane, lanes, slot, slots, half; ///< half a head, in vectors
  bool active;                        ///< lanes are a power of 2, and half a head need not be

  __device__ explicit Place(const RotaryShape& shape) {
    half = static_cast<int>(shape.head_width) / 2 / per_vector<T>;
    for (lanes = 1; lanes < half;) lanes *= 2;
    const int in_warp = static_cast<int>(threadIdx.x) % warp;
    lane = in_warp % lanes, slot = in_warp / lanes, slots = warp / lanes;
    active = lane < half;
  }
};

/// What attention takes, and its gradients.
template <class T>
struct Tensors {
  T *query, *key, *value;
};

/// Both halves of a lane's piece of a head.
template <class T>
struct Pairs {
  Vector<T> low, high;

  __device__ void fetch_from(const T* head, const Place<T>& place) {
    low = fetch(head, place.lane);
    high = fetch(head, place.half + place.lane);
  }
  __device__ void fetch_once_from(const T* head, const Place<T>& place) {
    low = fetch_once(head, place.lane);
    high = fetch_once(head, place.half + place.lane);
  }
  __device__ void clear() { low.bits = high.bits = uint4{0, 0, 0, 0}; }
};

/// Numbers for a lane's piece of a head, or of what stands beside it.
template <class T>
struct Piece {
  static constexpr int n = per_vector<T>;
  float low[n] = {}, high[n] = {};

  __device__ Piece() {}
  __device__ explicit Piece(const Pairs<T>& packed) {
    unpack(packed.low, low);
    unpack(packed.high, high);
  }
  __device__ void load(const float* weight, const Place<T>& place) {
    load_floats(weight, place.lane, low);
    load_floats(weight, place.half + place.lane, high);
  }
  __device__ void store_to(T* head, const Place<T>& place) const {
    store_once(head, place.lane, low);
    store_once(head, place.half + place.lane, high);
  }
};

/// A token's cosines and sines; a position that the tables do not have stops the kernel, as ATen's gather does.
template <class T>
struct Turn {
  static constexpr int n = per_vector<T>;
  float cos[n] = {}, sin[n] = {};

  __device__ void load(const RotaryShape& shape, const RotaryInputs& in, std::int64_t position, const Place<T>& place) {
    if (position < 0 || position >= shape.length) __trap();
    const std::int64_t row = position * (shape.head_width / 2);
    if (!place.active) return;
    load_floats(in.cos + row, place.lane, cos);
    load_floats(in.sin + row, place.lane, sin);
  }
  __device__ void forth(Piece<T>& x) const {
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const float low = x.low[j], high = x.high[j];
      x.low[j] = low * cos[j] - high * sin[j];
      x.high[j] = high * cos[j] + low * sin[j];
    }
  }
  __device__ void back(Piece<T>& x) const {
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const float low = x.low[j], high = x.high[j];
      x.low[j] = low * cos[j] + high * sin[j];
      x.high[j] = high * cos[j] - low * sin[j];
    }
  }
};

template <class T, bool normed>
__global__ void __launch_bounds__(threads)
    forward(const RotaryShape shape, const RotaryInputs in, const Tensors<T> out) {
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / warp;
  if (token >= shape.tokens) return;
  const Place<T> place(shape);
  const int width = static_cast<int>(shape.head_width), heads = static_cast<int>(shape.heads);
  const int turned = heads + static_cast<int>(shape.kv_heads), all = turned + static_cast<int>(shape.kv_heads);
  const float share = 1.0F / static_cast<float>(width);
  const T* row = static_cast<const T*>(in.qkv) + token * all * width;
  T* const query = out.query + token * heads * width;
  T* const key = out.key + token * shape.kv_heads * width;
  T* const value = out.value + token * shape.kv_heads * width;

  Turn<T> turn;
  for (int first = 0; first < all; first += place.slots) {
    const int head = first + place.slot;
    const bool there = place.active && head < all, is_query = head < heads, turns = head < turned;
    Pairs<T> packed;
    packed.clear();
    if (there) packed.fetch_once_from(row + head * width, place);
    if (first == 0) turn.load(shape, in, in.positions[token], place); // the heads need not wait for the position
    Piece<T> x(packed);
    float scale = 1;
    if constexpr (normed) {
      float squares = 0;
#pragma unroll
      for (int j = 0; j < x.n; ++j) squares += x.low[j] * x.low[j] + x.high[j] * x.high[j];
      scale = rsqrtf(warp_sum(squares, place.lanes) * share + in.eps);
    }
    if (!there) continue;
    if (turns) {
      if constexpr (normed) {
        Piece<T> weight;
        weight.load(is_query ? in.query_weight : in.key_weight, place);
#pragma unroll
        for (int j = 0; j < x.n; ++j) {
          x.low[j] *= scale * weight.low[j];
          x.high[j] *= scale * weight.high[j];
        }
      }
      turn.forth(x);
    }
    T* const to = is_query ? query : turns ? key : value;
    x.store_to(to + (head - (is_query ? 0 : turns ? heads : turned)) * width, place);
  }
}

/// What a block works on: a part of the rows of its tokens. The grid is those of the queries, then of the keys, then of the values.
struct Part {
  bool queries, keys;
  unsigned block, blocks; ///< of this part

  __device__ explicit Part(const RotaryBlocks& all) {
    const auto first = static_cast<unsigned>(all.queries), second = static_cast<unsigned>(all.keys);
    queries = blockIdx.x < first;
    keys = !queries && blockIdx.x < first + second;
    block = blockIdx.x - (queries ? 0 : keys ? first : first + second);
    blocks = queries ? first : keys ? second : static_cast<unsigned>(all.values);
  }
  [[nodiscard]] __device__ bool turns() const { return queries || keys; }
};

/// The heads of a part, in both tensors.
template <class T>
struct Heads {
  int count;
  std::int64_t row, offset; ///< of qkv: numbers in a row, and before the part
  const T* gradient;
  const float* weight;

  __device__ Heads(const RotaryShape& shape, const RotaryInputs& in, const Tensors<const T>& gradients, Part part) {
    const bool first = part.queries, second = part.keys;
    row = (shape.heads + 2 * shape.kv_heads) * shape.head_width;
    offset = first ? 0 : (second ? shape.heads : shape.heads + shape.kv_heads) * shape.head_width;
    count = static_cast<int>(first ? shape.heads : shape.kv_heads);
    gradient = first ? gradients.query : second ? gradients.key : gradients.value;
    weight = first ? in.query_weight : in.key_weight;
  }
};

/// A weight's gradient, added up over the heads side by side, then over the block's warps in order.
template <class T>
__device__ void write_partial(Piece<T> sums, const Place<T>& place, int width, unsigned row_of_out, float* out) {
  extern __shared__ float scratch[]; // [warps, width]
#pragma unroll
  for (int j = 0; j < sums.n; ++j) {
    for (int distance = place.lanes; distance < warp; distance *= 2) {
      sums.low[j] += __shfl_xor_sync(0xffffffffu, sums.low[j], distance);
      sums.high[j] += __shfl_xor_sync(0xffffffffu, sums.high[j], distance);
    }
    if (place.active && place.slot == 0) {
      float* row = scratch + threadIdx.x / warp * width + j;
      row[place.lane * sums.n] = sums.low[j];
      row[(place.half + place.lane) * sums.n] = sums.high[j];
    }
  }
  __syncthreads();
  for (int column = static_cast<int>(threadIdx.x); column < width; column += threads) {
    float sum = 0;
    for (int i = 0; i < warps; ++i) sum += scratch[i * width + column];
    out[static_cast<std::int64_t>(row_of_out) * width + column] = sum;
  }
}

/// Turns back; then, with a norm and u the gradient of its output: dx = scale (u w - x scale^2 mean(u w x)).
template <class T, bool normed>
__global__ void __launch_bounds__(threads, normed ? summing_blocks : 1)
    backward(const RotaryShape shape, const RotaryInputs in, const RotaryBlocks blocks,
             const Tensors<const T> gradients, T* dqkv, float* query_partial, float* key_partial) {
  const Place<T> place(shape);
  const Part part(blocks);
  const Heads<T> heads(shape, in, gradients, part);
  const bool turns = part.turns();
  const int width = static_cast<int>(shape.head_width);
  const float share = 1.0F / static_cast<float>(width);
  Piece<T> weight, sums;
  if (normed && turns && place.active) weight.load(heads.weight, place);

  // One step ahead of the heads that are worked on, those that come next are on their way.
  struct Fetched {
    Pairs<T> gradient, input;
    std::int64_t position;
  };
  const auto fetch_at = [&](std::int64_t token, int head) {
    Fetched next;
    const bool there = token < shape.tokens && head < heads.count && place.active;
    next.gradient.clear();
    if (there) next.gradient.fetch_from(heads.gradient + (token * heads.count + head) * width, place);
    if constexpr (normed) {
      next.input.clear();
      const T* qkv = static_cast<const T*>(in.qkv);
      if (there && turns) next.input.fetch_from(qkv + token * heads.row + heads.offset + head * width, place);
    }
    next.position = token < shape.tokens && turns ? in.positions[token] : 0;
    return next;
  };
  const std::int64_t step = static_cast<std::int64_t>(part.blocks) * warps;
  std::int64_t token = static_cast<std::int64_t>(part.block) * warps + threadIdx.x / warp;
  Turn<T> turn;
  Fetched next = fetch_at(token, place.slot);
  for (int first = 0; token < shape.tokens;) {
    const Fetched now = next;
    const int head = first + place.slot;
    T* to = dqkv + token * heads.row + heads.offset + head * width;
    if (first == 0 && turns) turn.load(shape, in, now.position, place);
    first += place.slots;
    if (first >= heads.count) {
      first = 0;
      token += step;
    }
    next = fetch_at(token, first + place.slot);

    Piece<T> g(now.gradient);
    if (turns) {
      turn.back(g);
      if constexpr (normed) {
        Piece<T> x(now.input);
        float squares = 0, dot = 0;
#pragma unroll
        for (int j = 0; j < x.n; ++j) {
          squares += x.low[j] * x.low[j] + x.high[j] * x.high[j];
          dot += g.low[j] * weight.low[j] * x.low[j] + g.high[j] * weight.high[j] * x.high[j];
        }
        for (int distance = place.lanes / 2; distance > 0; distance /= 2) { // both at once: each alone would wait
          squares += __shfl_xor_sync(0xffffffffu, squares, distance);
          dot += __shfl_xor_sync(0xffffffffu, dot, distance);
        }
        const float scale = rsqrtf(squares * share + in.eps);
        const float shift = dot * share * scale * scale;
#pragma unroll
        for (int j = 0; j < x.n; ++j) {
          x.low[j] *= scale;
          x.high[j] *= scale;
          sums.low[j] += g.low[j] * x.low[j];
          sums.high[j] += g.high[j] * x.high[j];
          g.low[j] = g.low[j] * (scale * weight.low[j]) - x.low[j] * shift;
          g.high[j] = g.high[j] * (scale * weight.high[j]) - x.high[j] * shift;
        }
      }
    }
    if (place.active && head < heads.count) g.store_to(to, place);
  }
  if (normed && turns) write_partial(sums, place, width, part.block, part.queries ? query_partial : key_partial);
}

std::int64_t blocks_of(const RotaryShape& shape) { return (shape.tokens + warps - 1) / warps; }

} // namespace

void split_rotary(const RotaryShape& shape, const RotaryInputs& in, void* query, void* key, void* value,
                  cudaStream_t stream) {
  const auto grid = static_cast<unsigned>(blocks_of(shape));
  dispatch(shape.type, [&]<class T>(T) {
    const Tensors<T> out{static_cast<T*>(query), static_cast<T*>(key), static_cast<T*>(value)};
    in.query_weight != nullptr ? forward<T, true><<<grid, threads, 0, stream>>>(shape, in, out)
                               : forward<T, false><<<grid, threads, 0, stream>>>(shape, in, out);
  });
}

// With a norm all blocks run at once, and have shares of the work: were each part as many blocks as fit, they would run one part
// after the other, and the GPU idle at each end. A head's work is its bytes; a key's is somewhat more, as few of them share a
// token's position and tables.
RotaryBlocks rotary_backward_blocks(const RotaryShape& shape, bool normed) {
  const std::int64_t most = blocks_of(shape);
  if (!normed) return {most, most, most};
  const std::int64_t all = static_cast<std::int64_t>(multiprocessors()) * summing_blocks;
  constexpr std::int64_t of_query = 6, of_key = 7, of_value = 4;
  const std::int64_t work = of_query * shape.heads + (of_key + of_value) * shape.kv_heads;
  const auto share = [&](std::int64_t of) { return std::clamp<std::int64_t>(all * of / work, 1, most); };
  return {share(of_query * shape.heads), share(of_key * shape.kv_heads), share(of_value * shape.kv_heads)};
}

void split_rotary_backward(const RotaryShape& shape, const RotaryInputs& in, const RotaryBlocks& blocks,
                           const void* dquery, const void* dkey, const void* dvalue, void* dqkv, float* query_partial,
                           float* key_partial, cudaStream_t stream) {
  const bool normed = in.query_weight != nullptr;
  const auto grid = static_cast<unsigned>(blocks.queries + blocks.keys + blocks.values);
  const std::size_t scratch = normed ? sizeof(float) * static_cast<std::size_t>(warps * shape.head_width) : 0;
  dispatch(shape.type, [&]<class T>(T) {
    const Tensors<const T> gradients{static_cast<const T*>(dquery), static_cast<const T*>(dkey),
                                     static_cast<const T*>(dvalue)};
    const auto launch = [&](auto kernel) {
      kernel<<<grid, threads, scratch, stream>>>(shape, in, blocks, gradients, static_cast<T*>(dqkv), query_partial,
                                                 key_partial);
    };
    normed ? launch(backward<T, true>) : launch(backward<T, false>);
  });
}

} // namespace conclave::cuda
