// CPU kernel: splits a joint QKV projection into heads, normalises and rotates queries and keys, in one pass.

#include <ATen/Parallel.h>

#include "cpu_kernels.hpp"
#include "cpu_math.hpp"

namespace conclave::ops::cpu {
namespace {

using Index = std::int64_t;

template <class T>
CONCLAVE_INLINE T inverse_rms(const T* x, Index width, double eps) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < width; ++j) sum += x[j] * x[j];
  return T{1} / std::sqrt(sum / static_cast<T>(width) + static_cast<T>(eps));
}

/// y = rotation of x * factor * weight (no weight: of x).
template <class T>
CONCLAVE_INLINE void rotate_head(const T* x, const T* weight, T factor, const T* cos, const T* sin, Index width, T* y) {
  const Index half = width / 2;
  // NOLINTNEXTLINE(bugprone-branch-clone): clang-tidy 14 does not look into loops below a pragma
  if (weight != nullptr) {
#pragma omp simd
    for (Index j = 0; j < half; ++j) {
      const T low = x[j] * factor * weight[j], high = x[half + j] * factor * weight[half + j];
      y[j] = low * cos[j] - high * sin[j];
      y[half + j] = high * cos[j] + low * sin[j];
    }
  } else {
#pragma omp simd
    for (Index j = 0; j < half; ++j) {
      const T low = x[j], high = x[half + j];
      y[j] = low * cos[j] - high * sin[j];
      y[half + j] = high * cos[j] + low * sin[j];
    }
  }
}

/// The adjoint: turns dy back, then through the norm.
template <class T>
CONCLAVE_INLINE void rotate_head_backward(const T* dy, const T* x, const T* weight, T factor, const T* cos,
                                          const T* sin, Index width, T* dx, T* dweight) {
  const Index half = width / 2;
#pragma omp simd
  for (Index j = 0; j < half; ++j) {
    const T low = dy[j], high = dy[half + j];
    dx[j] = low * cos[j] + high * sin[j];
    dx[half + j] = high * cos[j] - low * sin[j];
  }
  if (weight == nullptr) return;
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (Index j = 0; j < width; ++j) dot += dx[j] * weight[j] * x[j];
  const T c = dot * factor * factor / static_cast<T>(width);
#pragma omp simd
  for (Index j = 0; j < width; ++j) {
    dweight[j] += dx[j] * x[j] * factor;
    dx[j] = factor * (dx[j] * weight[j] - x[j] * c);
  }
}

template <class T>
CONCLAVE_INLINE void forward_tokens(const RotaryShape& s, const RotaryInputs<T>& in, Index begin, Index end, T* query,
                                    T* key, T* value, T* scale) {
  const Index width = s.head_width, half = width / 2, turned = s.heads + s.kv_heads;
  for (Index t = begin; t < end; ++t) {
    const T* row = in.qkv + t * s.row();
    const T *cos = in.cos + in.positions[t] * half, *sin = in.sin + in.positions[t] * half;
    for (Index h = 0; h < turned; ++h) {
      const T* weight = h < s.heads ? in.query_weight : in.key_weight;
      T factor = 1;
      if (weight != nullptr) scale[t * turned + h] = factor = inverse_rms(row + h * width, width, in.eps);
      T* to = h < s.heads ? query + (t * s.heads + h) * width : key + (t * s.kv_heads + h - s.heads) * width;
      rotate_head(row + h * width, weight, factor, cos, sin, width, to);
    }
    std::copy_n(row + turned * width, s.kv_heads * width, value + t * s.kv_heads * width);
  }
}

template <class T>
CONCLAVE_INLINE void backward_tokens(const RotaryShape& s, const RotaryInputs<T>& in, const T* scale, Index begin,
                                     Index end, const T* dquery, const T* dkey, const T* dvalue, T* dqkv,
                                     T* dquery_weight, T* dkey_weight) {
  const Index width = s.head_width, half = width / 2, turned = s.heads + s.kv_heads;
  for (Index t = begin; t < end; ++t) {
    const T* row = in.qkv + t * s.row();
    T* to = dqkv + t * s.row();
    const T *cos = in.cos + in.positions[t] * half, *sin = in.sin + in.positions[t] * half;
    for (Index h = 0; h < turned; ++h) {
      const bool is_query = h < s.heads;
      const T* from = is_query ? dquery + (t * s.heads + h) * width : dkey + (t * s.kv_heads + h - s.heads) * width;
      const T* weight = is_query ? in.query_weight : in.key_weight;
      const T factor = weight != nullptr ? scale[t * turned + h] : T{1};
      rotate_head_backward(from, row + h * width, weight, factor, cos, sin, width, to + h * width,
                           is_query ? dquery_weight : dkey_weight);
    }
    std::copy_n(dvalue + t * s.kv_heads * width, s.kv_heads * width, to + turned * width);
  }
}

#define CONCLAVE_TOKENS(T, CLONES)                                                                                   \
  CLONES void run_forward(const RotaryShape& s, const RotaryInputs<T>& in, Index begin, Index end, T* query, T* key, \
                          T* value, T* scale) {                                                                      \
    forward_tokens(s, in, begin, end, query, key, value, scale);                                                     \
  }                                                                                                                  \
  CLONES void run_backward(const RotaryShape& s, const RotaryInputs<T>& in, const T* scale, Index begin, Index end,  \
                           const T* dquery, const T* dkey, const T* dvalue, T* dqkv, T* dquery_weight,               \
                           T* dkey_weight) {                                                                         \
    backward_tokens(s, in, scale, begin, end, dquery, dkey, dvalue, dqkv, dquery_weight, dkey_weight);               \
  }
CONCLAVE_TOKENS(float, CONCLAVE_CPU_CLONES)
CONCLAVE_TOKENS(double, )
#undef CONCLAVE_TOKENS

} // namespace

template <class T>
void rotary_forward(const RotaryShape& shape, const RotaryInputs<T>& in, T* query, T* key, T* value, T* scale) {
  const Index grain = std::max<Index>(1, 16384 / shape.row());
  at::parallel_for(0, shape.tokens, grain,
                   [&](Index begin, Index end) { run_forward(shape, in, begin, end, query, key, value, scale); });
}

template <class T>
void rotary_backward(const RotaryShape& shape, const RotaryInputs<T>& in, const T* scale, const T* dquery,
                     const T* dkey, const T* dvalue, T* dqkv, T* dquery_weight, T* dkey_weight) {
  const Index blocks = reduction_blocks(shape.tokens);
  at::parallel_for(0, blocks, 1, [&](Index first, Index last) {
    for (Index b = first; b < last; ++b) {
      const Index offset = b * shape.head_width;
      run_backward(shape, in, scale, shape.tokens * b / blocks, shape.tokens * (b + 1) / blocks, dquery, dkey, dvalue,
                   dqkv, dquery_weight != nullptr ? dquery_weight + offset : nullptr,
                   dkey_weight != nullptr ? dkey_weight + offset : nullptr);
    }
  });
}

#define CONCLAVE_INSTANTIATE(T)                                                                                     \
  template void rotary_forward(const RotaryShape&, const RotaryInputs<T>&, T*, T*, T*, T*);                         \
  template void rotary_backward(const RotaryShape&, const RotaryInputs<T>&, const T*, const T*, const T*, const T*, \
                                T*, T*, T*);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

} // namespace conclave::ops::cpu
