// Attention of short segments: one warp for a query of a head, or for a key of a key head; a warp whose segment is longer leaves.
//
// No tensor cores and no tiles, so nothing for a bandwidth to bound: a token's keys are few (attention_segments.hpp), and come from
// the caches. Numbers are computed in fp32, the weights too; each is rounded once. Sums run in the order of tokens.

#include "attention_segments.hpp"
#include "device.cuh"

namespace conclave::cuda {
namespace {

constexpr int warps = 8;
constexpr int at_once = 4; ///< keys or queries whose loads are in flight together

template <class T>
struct Pair;
template <>
struct Pair<__half> {
  using Type = __half2;
};
template <>
struct Pair<__nv_bfloat16> {
  using Type = __nv_bfloat162;
};

/// A vector of at most 64 N numbers over a warp: lane l has the pairs l, l + 32, and so on. Pairs beyond the width are 0.
template <int N>
struct Spread {
  float2 pairs[N];

  __device__ Spread() {
#pragma unroll
    for (int k = 0; k < N; ++k) pairs[k] = {0.0F, 0.0F};
  }
  template <class T>
  __device__ Spread(const T* from, int width) : Spread() {
    const auto* packed = reinterpret_cast<const typename Pair<T>::Type*>(from);
    const int lane = static_cast<int>(threadIdx.x) % warp;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int i = lane + k * warp;
      if (2 * i >= width) continue;
      const typename Pair<T>::Type both = packed[i];
      pairs[k] = {to_float(both.x), to_float(both.y)};
    }
  }
  template <class T>
  __device__ void store_to(T* to, int width) const {
    auto* packed = reinterpret_cast<typename Pair<T>::Type*>(to);
    const int lane = static_cast<int>(threadIdx.x) % warp;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int i = lane + k * warp;
      if (2 * i >= width) continue;
      typename Pair<T>::Type both;
      both.x = from_float<T>(pairs[k].x);
      both.y = from_float<T>(pairs[k].y);
      packed[i] = both;
    }
  }
  __device__ void scale(float by) {
#pragma unroll
    for (int k = 0; k < N; ++k) pairs[k] = {pairs[k].x * by, pairs[k].y * by};
  }
  __device__ void add(float weight, const Spread& x) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      pairs[k].x += weight * x.pairs[k].x;
      pairs[k].y += weight * x.pairs[k].y;
    }
  }
  /// This lane's share of the product.
  __device__ float dot(const Spread& x) const {
    float sum = 0;
#pragma unroll
    for (int k = 0; k < N; ++k) sum += pairs[k].x * x.pairs[k].x + pairs[k].y * x.pairs[k].y;
    return sum;
  }
};

struct Sizes {
  std::int64_t tokens;
  int heads, kv_heads, width, value_width;
  int window; ///< beyond every distance where there is none
  std::int32_t longest;
  float scale; ///< of scores
  const std::int32_t* spans;
};

/// A warp's token, and its head of `heads`; false: no such token, or in a longer segment.
struct Place {
  int token = 0, head = 0, begin = 0, end = 0;
  __device__ bool find(const Sizes& n, int heads) {
    const std::int64_t number = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / warp;
    if (number >= n.tokens * heads) return false;
    token = static_cast<int>(number / heads);
    head = static_cast<int>(number % heads);
    begin = n.spans[token];
    end = n.spans[n.tokens + token];
    return end - begin <= n.longest;
  }
};

template <class T>
__device__ const T* row(const T* x, int token, int heads, int head, int width) {
  return x + (static_cast<std::int64_t>(token) * heads + head) * width;
}
template <class T>
__device__ T* row(T* x, int token, int heads, int head, int width) {
  return x + (static_cast<std::int64_t>(token) * heads + head) * width;
}

template <class T, int N>
__global__ void forward(const Sizes n, const T* query, const T* key, const T* value, T* out, float* lse) {
  Place at;
  if (!at.find(n, n.heads)) return;
  const int group = n.heads / n.kv_heads, kv = at.head / group;
  const Spread<N> q(row(query, at.token, n.heads, at.head, n.width), n.width);
  Spread<N> sum;
  float top = -INFINITY, total = 0;
  for (int j = max(at.begin, at.token - n.window + 1); j <= at.token; j += at_once) {
    float score[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u)
      score[u] = q.dot(Spread<N>(row(key, min(j + u, at.token), n.kv_heads, kv, n.width), n.width));
    float highest = top;
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      score[u] = j + u <= at.token ? warp_sum(score[u]) * n.scale : -INFINITY; // j alike in the whole warp
      highest = fmaxf(highest, score[u]);
    }
    const float shrink = expf(top - highest); // the first is a number: score[0] is
    top = highest;
    total *= shrink;
    sum.scale(shrink);
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const float weight = expf(score[u] - top);
      total += weight;
      sum.add(weight, Spread<N>(row(value, min(j + u, at.token), n.kv_heads, kv, n.value_width), n.value_width));
    }
  }
  sum.scale(1 / total);
  sum.store_to(row(out, at.token, n.heads, at.head, n.value_width), n.value_width);
  if (threadIdx.x % warp == 0) *row(lse, at.token, n.heads, at.head, 1) = top + logf(total);
}

/// dots: the products of results and their gradients, for the other kernel.
template <class T, int N>
__global__ void query_gradient(const Sizes n, const T* dout, const T* query, const T* key, const T* value, const T* out,
                               const float* lse, T* dquery, float* dots) {
  Place at;
  if (!at.find(n, n.heads)) return;
  const int group = n.heads / n.kv_heads, kv = at.head / group;
  const Spread<N> q(row(query, at.token, n.heads, at.head, n.width), n.width);
  const Spread<N> g(row(dout, at.token, n.heads, at.head, n.value_width), n.value_width);
  const float dot = warp_sum(g.dot(Spread<N>(row(out, at.token, n.heads, at.head, n.value_width), n.value_width)));
  const float log_sum = *row(lse, at.token, n.heads, at.head, 1);
  if (threadIdx.x % warp == 0) *row(dots, at.token, n.heads, at.head, 1) = dot;
  Spread<N> sum;
  for (int j = max(at.begin, at.token - n.window + 1); j <= at.token; j += at_once) {
    Spread<N> k[at_once];
    float score[at_once], slope[at_once];
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const int other = min(j + u, at.token);
      k[u] = Spread<N>(row(key, other, n.kv_heads, kv, n.width), n.width);
      score[u] = q.dot(k[u]);
      slope[u] = g.dot(Spread<N>(row(value, other, n.kv_heads, kv, n.value_width), n.value_width));
    }
#pragma unroll
    for (int u = 0; u < at_once; ++u) {
      const float weight = expf(warp_sum(score[u]) * n.scale - log_sum);
      const float gradient = weight * (warp_sum(slope[u]) - dot);
      sum.add(j + u <= at.token ? gradient : 0.0F, k[u]);
    }
  }
  sum.scale(n.scale);
  sum.store_to(row(dquery, at.token, n.heads, at.head, n.width), n.width);
}

template <class T, int N>
__global__ void key_gradient(const Sizes n, const T* dout, const T* query, const T* key, const T* value,
                             const float* lse, const float* dots, T* dkey, T* dvalue) {
  Place at;
  if (!at.find(n, n.kv_heads)) return;
  const int group = n.heads / n.kv_heads;
  const Spread<N> k(row(key, at.token, n.kv_heads, at.head, n.width), n.width);
  const Spread<N> v(row(value, at.token, n.kv_heads, at.head, n.value_width), n.value_width);
  Spread<N> sum_k, sum_v;
  const int last = n.window < at.end - at.token ? at.token + n.window - 1 : at.end - 1;
  for (int h = at.head * group; h < (at.head + 1) * group; ++h) {
    for (int i = at.token; i <= last; i += at_once) {
      Spread<N> q[at_once], g[at_once];
      float score[at_once], slope[at_once], log_sum[at_once], dot[at_once];
#pragma unroll
      for (int u = 0; u < at_once; ++u) {
        const int other = min(i + u, last);
        q[u] = Spread<N>(row(query, other, n.heads, h, n.width), n.width);
        g[u] = Spread<N>(row(dout, other, n.heads, h, n.value_width), n.value_width);
        log_sum[u] = *row(lse, other, n.heads, h, 1);
        dot[u] = *row(dots, other, n.heads, h, 1);
        score[u] = k.dot(q[u]);
        slope[u] = v.dot(g[u]);
      }
#pragma unroll
      for (int u = 0; u < at_once; ++u) {
        const float seen = i + u <= last ? expf(warp_sum(score[u]) * n.scale - log_sum[u]) : 0.0F;
        const float gradient = seen * (warp_sum(slope[u]) - dot[u]);
        sum_v.add(seen, g[u]);
        sum_k.add(gradient, q[u]);
      }
    }
  }
  sum_k.scale(n.scale);
  sum_k.store_to(row(dkey, at.token, n.kv_heads, at.head, n.width), n.width);
  sum_v.store_to(row(dvalue, at.token, n.kv_heads, at.head, n.value_width), n.value_width);
}

Sizes sizes_of(const PlainAttentionShape& shape) {
  const bool windowed = shape.window > 0 && shape.window < shape.longest;
  return {shape.tokens,      shape.heads,
          shape.kv_heads,    shape.width,
          shape.value_width, windowed ? static_cast<int>(shape.window) : shape.longest,
          shape.longest,     1.0F / sqrtf(static_cast<float>(shape.width)),
          shape.spans};
}

unsigned blocks_for(const PlainAttentionShape& shape, int heads) {
  return static_cast<unsigned>((shape.tokens * heads + warps - 1) / warps);
}

/// body(T{}, N) with N pairs a lane.
template <int N>
struct Pairs {};
template <class Body>
void dispatch_pairs(const PlainAttentionShape& shape, const Body& body) {
  const int width = shape.width > shape.value_width ? shape.width : shape.value_width;
  const auto by_width = [&]<class T>(T zero) {
    if (width <= 64) return body(zero, Pairs<1>{});
    if (width <= 128) return body(zero, Pairs<2>{});
    return body(zero, Pairs<plain_widest / 64>{});
  };
  if (shape.type == Type::fp16) return by_width(__half{});
  by_width(__nv_bfloat16{});
}

} // namespace

void plain_attention(const PlainAttentionShape& shape, const PlainAttention& x, cudaStream_t stream) {
  dispatch_pairs(shape, [&]<class T, int N>(T, Pairs<N>) {
    forward<T, N><<<blocks_for(shape, shape.heads), warps * warp, 0, stream>>>(
        sizes_of(shape), static_cast<const T*>(x.query), static_cast<const T*>(x.key), static_cast<const T*>(x.value),
        static_cast<T*>(x.out), x.lse);
  });
}

void plain_attention_backward(const PlainAttentionShape& shape, const PlainAttention& x,
                              const PlainAttentionGradients& gradients, cudaStream_t stream) {
  dispatch_pairs(shape, [&]<class T, int N>(T, Pairs<N>) {
    const auto* dout = static_cast<const T*>(gradients.dout);
    const auto *query = static_cast<const T*>(x.query), *key = static_cast<const T*>(x.key),
               *value = static_cast<const T*>(x.value), *out = static_cast<const T*>(x.out);
    query_gradient<T, N><<<blocks_for(shape, shape.heads), warps * warp, 0, stream>>>(
        sizes_of(shape), dout, query, key, value, out, x.lse, static_cast<T*>(gradients.dquery), gradients.dots);
    key_gradient<T, N><<<blocks_for(shape, shape.kv_heads), warps * warp, 0, stream>>>(
        sizes_of(shape), dout, query, key, value, x.lse, gradients.dots, static_cast<T*>(gradients.dkey),
        static_cast<T*>(gradients.dvalue));
  });
}

} // namespace conclave::cuda
