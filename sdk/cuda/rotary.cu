// split_rotary: a warp for each token. Some lanes take a head together, each a vector of its low half and the one of its high
// half that turns with it; the warp works on several heads side by side, and each lane keeps its cosines and sines for all of them.
//
// Bytes that must move, for tokens of N = (heads + 2 kv_heads) head_width numbers of b bytes: 2 N b either way, and the norms'
// input once more on the way back. Tables and weights come from the caches.

#include "dispatch.cuh"
#include "rotary.hpp"

namespace conclave::cuda {
namespace {

constexpr int warps = 4;
constexpr int threads = warps * warp;

/// What a lane does: always the same part of a head, of every `slots`th head.
struct Place {
  int lane, lanes, slot, slots;
  bool active; ///< a head's half need not be a power of 2 of vectors

  template <class T>
  __device__ static Place of(const RotaryShape& shape, T /*type*/) {
    const int vectors = static_cast<int>(shape.head_width) / 2 / per_vector<T>;
    int lanes = 1;
    while (lanes < vectors) lanes *= 2;
    const int in_warp = static_cast<int>(threadIdx.x) % warp;
    return {in_warp % lanes, lanes, in_warp / lanes, warp / lanes, in_warp % lanes < vectors};
  }
};

/// Both halves of a lane's part of a head.
template <class T>
struct Pairs {
  Vector<T> low, high;

  __device__ void fetch_from(const T* head, const Place& place, int half_vectors) {
    low = fetch(head, place.lane);
    high = fetch(head, half_vectors + place.lane);
  }
  __device__ void clear() { low.bits = high.bits = uint4{0, 0, 0, 0}; }
};

template <class T, int n = per_vector<T>>
__device__ void store_pairs(T* head, const Place& place, int half_vectors, const float (&low)[n],
                            const float (&high)[n]) {
  store(head, place.lane, low);
  store(head, half_vectors + place.lane, high);
}

/// The row of the tables for this token; a position that they do not have stops the kernel, as ATen's gather does.
__device__ std::int64_t table_row(const RotaryShape& shape, const RotaryInputs& in, std::int64_t token) {
  const std::int64_t position = in.positions[token];
  if (position < 0 || position >= shape.length) __trap();
  return position * (shape.head_width / 2);
}

template <class T, bool normed>
__global__ void __launch_bounds__(threads)
    forward(const RotaryShape shape, const RotaryInputs in, T* query, T* key, T* value) {
  constexpr int n = per_vector<T>, at_once = 3;
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / warp;
  if (token >= shape.tokens) return;
  const Place place = Place::of(shape, T{});
  const int width = static_cast<int>(shape.head_width), half_vectors = width / 2 / n;
  const int heads = static_cast<int>(shape.heads), keys = static_cast<int>(shape.kv_heads), all = heads + 2 * keys;
  const T* row = static_cast<const T*>(in.qkv) + token * all * width;
  query += token * heads * width;
  key += token * keys * width;
  value += token * keys * width;

  float cos[n] = {}, sin[n] = {};
  const std::int64_t table = table_row(shape, in, token);
  if (place.active) {
    load_floats(in.cos + table, place.lane, cos);
    load_floats(in.sin + table, place.lane, sin);
  }
  for (int first = place.slot; first - place.slot < all; first += at_once * place.slots) {
    Pairs<T> packed[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const int head = first + u * place.slots;
      packed[u].clear();
      if (place.active && head < all) packed[u].fetch_from(row + head * width, place, half_vectors);
    }
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const int head = first + u * place.slots;
      float low[n], high[n];
      unpack(packed[u].low, low);
      unpack(packed[u].high, high);
      float scale = 1;
      if constexpr (normed) {
        float sum = 0;
#pragma unroll
        for (int j = 0; j < n; ++j) sum += low[j] * low[j] + high[j] * high[j];
        scale = rsqrtf(warp_sum(sum, place.lanes) / static_cast<float>(width) + in.eps);
      }
      if (!place.active || head >= all) continue;
      if (head >= heads + keys) {
        store_pairs(value + (head - heads - keys) * width, place, half_vectors, low, high);
        continue;
      }
      if constexpr (normed) {
        const float* weight = head < heads ? in.query_weight : in.key_weight;
        float low_weight[n], high_weight[n];
        load_floats(weight, place.lane, low_weight);
        load_floats(weight, half_vectors + place.lane, high_weight);
#pragma unroll
        for (int j = 0; j < n; ++j) {
          low[j] *= scale * low_weight[j];
          high[j] *= scale * high_weight[j];
        }
      }
#pragma unroll
      for (int j = 0; j < n; ++j) {
        const float x = low[j], y = high[j];
        low[j] = x * cos[j] - y * sin[j];
        high[j] = y * cos[j] + x * sin[j];
      }
      store_pairs(head < heads ? query + head * width : key + (head - heads) * width, place, half_vectors, low, high);
    }
  }
}

/// A weight's gradient, [low, high] of a lane's part: added up over the heads side by side, then over the block's warps in order.
template <int n>
__device__ void write_partial(const float (&sums)[2][n], const Place& place, int width, float* scratch, float* out) {
  const int half_vectors = width / 2 / n;
  __syncthreads();
#pragma unroll
  for (int part = 0; part < 2; ++part) {
#pragma unroll
    for (int j = 0; j < n; ++j) {
      float sum = sums[part][j];
      for (int distance = place.lanes; distance < warp; distance *= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
      if (place.active && place.slot == 0)
        scratch[threadIdx.x / warp * width + (part * half_vectors + place.lane) * n + j] = sum;
    }
  }
  __syncthreads();
  for (int column = static_cast<int>(threadIdx.x); column < width; column += threads) {
    float sum = 0;
    for (int i = 0; i < warps; ++i) sum += scratch[i * width + column];
    out[static_cast<std::int64_t>(blockIdx.x) * width + column] = sum;
  }
}

/// Turns back; then, with a norm and u the gradient of its output: dx = scale (u w - x scale^2 mean(u w x)).
template <class T, bool normed>
__global__ void __launch_bounds__(threads)
    backward(const RotaryShape shape, const RotaryInputs in, const T* dquery, const T* dkey, const T* dvalue, T* dqkv,
             float* query_partial, float* key_partial) {
  constexpr int n = per_vector<T>, at_once = normed ? 2 : 3;
  const Place place = Place::of(shape, T{});
  const int width = static_cast<int>(shape.head_width), half_vectors = width / 2 / n;
  const int heads = static_cast<int>(shape.heads), keys = static_cast<int>(shape.kv_heads), all = heads + 2 * keys;
  float query_sums[2][n] = {}, key_sums[2][n] = {};

  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * warps;
  for (std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / warp; token < shape.tokens;
       token += step) {
    const T* row = static_cast<const T*>(in.qkv) + (normed ? token * all * width : 0);
    T* to = dqkv + token * all * width;
    const auto gradient_of = [&](int head) {
      if (head < heads) return dquery + (token * heads + head) * width;
      if (head < heads + keys) return dkey + (token * keys + head - heads) * width;
      return dvalue + (token * keys + head - heads - keys) * width;
    };
    float cos[n] = {}, sin[n] = {};
    const std::int64_t table = table_row(shape, in, token);
    if (place.active) {
      load_floats(in.cos + table, place.lane, cos);
      load_floats(in.sin + table, place.lane, sin);
    }
    for (int first = place.slot; first - place.slot < all; first += at_once * place.slots) {
      Pairs<T> packed[at_once], packed_x[normed ? at_once : 1];
#pragma unroll
      for (int u = 0; u < at_once; ++u) {
        const int head = first + u * place.slots;
        packed[u].clear();
        if (place.active && head < all) packed[u].fetch_from(gradient_of(head), place, half_vectors);
        if constexpr (normed) {
          packed_x[u].clear();
          if (place.active && head < heads + keys) packed_x[u].fetch_from(row + head * width, place, half_vectors);
        }
      }
#pragma unroll
      for (int u = 0; u < at_once; ++u) {
        const int head = first + u * place.slots;
        float low[n], high[n];
        unpack(packed[u].low, low);
        unpack(packed[u].high, high);
        if (head < heads + keys) {
#pragma unroll
          for (int j = 0; j < n; ++j) {
            const float x = low[j], y = high[j];
            low[j] = x * cos[j] + y * sin[j];
            high[j] = y * cos[j] - x * sin[j];
          }
        }
        if constexpr (normed) {
          float low_x[n], high_x[n], low_weight[n] = {}, high_weight[n] = {};
          unpack(packed_x[u].low, low_x);
          unpack(packed_x[u].high, high_x);
          if (place.active) {
            const float* weight = head < heads ? in.query_weight : in.key_weight;
            load_floats(weight, place.lane, low_weight);
            load_floats(weight, half_vectors + place.lane, high_weight);
          }
          float squares = 0, dot = 0;
#pragma unroll
          for (int j = 0; j < n; ++j) {
            squares += low_x[j] * low_x[j] + high_x[j] * high_x[j];
            dot += low[j] * low_weight[j] * low_x[j] + high[j] * high_weight[j] * high_x[j];
          }
          squares = warp_sum(squares, place.lanes);
          dot = warp_sum(dot, place.lanes);
          if (head < heads + keys) {
            const float scale = rsqrtf(squares / static_cast<float>(width) + in.eps);
            const float shift = dot / static_cast<float>(width) * scale * scale * scale;
            const auto through = [&](float (&sums)[2][n]) {
#pragma unroll
              for (int j = 0; j < n; ++j) {
                sums[0][j] += low[j] * low_x[j] * scale;
                sums[1][j] += high[j] * high_x[j] * scale;
                low[j] = low[j] * low_weight[j] * scale - low_x[j] * shift;
                high[j] = high[j] * high_weight[j] * scale - high_x[j] * shift;
              }
            };
            head < heads ? through(query_sums) : through(key_sums);
          }
        }
        if (place.active && head < all) store_pairs(to + head * width, place, half_vectors, low, high);
      }
    }
  }
  if constexpr (normed) {
    extern __shared__ float scratch[];
    write_partial(query_sums, place, width, scratch, query_partial);
    write_partial(key_sums, place, width, scratch, key_partial);
  }
}

std::int64_t blocks_of(const RotaryShape& shape) { return (shape.tokens + warps - 1) / warps; }

} // namespace

void split_rotary(const RotaryShape& shape, const RotaryInputs& in, void* query, void* key, void* value,
                  cudaStream_t stream) {
  dispatch(shape.type, [&]<class T>(T) {
    const auto launch = [&](auto kernel) {
      kernel<<<static_cast<unsigned>(blocks_of(shape)), threads, 0, stream>>>(
          shape, in, static_cast<T*>(query), static_cast<T*>(key), static_cast<T*>(value));
    };
    in.query_weight != nullptr ? launch(forward<T, true>) : launch(forward<T, false>);
  });
}

std::int64_t split_rotary_partial_rows(const RotaryShape& shape) {
  // As many blocks as run at once with 160 registers a thread.
  const std::int64_t blocks = static_cast<std::int64_t>(multiprocessors()) * 3;
  return blocks_of(shape) < blocks ? blocks_of(shape) : blocks;
}

void split_rotary_backward(const RotaryShape& shape, const RotaryInputs& in, const void* dquery, const void* dkey,
                           const void* dvalue, void* dqkv, float* query_partial, float* key_partial,
                           cudaStream_t stream) {
  const bool normed = in.query_weight != nullptr;
  const std::int64_t blocks = normed ? split_rotary_partial_rows(shape) : blocks_of(shape);
  const std::size_t scratch = normed ? sizeof(float) * static_cast<std::size_t>(warps * shape.head_width) : 0;
  dispatch(shape.type, [&]<class T>(T) {
    const auto launch = [&](auto kernel) {
      kernel<<<static_cast<unsigned>(blocks), threads, scratch, stream>>>(
          shape, in, static_cast<const T*>(dquery), static_cast<const T*>(dkey), static_cast<const T*>(dvalue),
          static_cast<T*>(dqkv), query_partial, key_partial);
    };
    normed ? launch(backward<T, true>) : launch(backward<T, false>);
  });
}

} // namespace conclave::cuda
