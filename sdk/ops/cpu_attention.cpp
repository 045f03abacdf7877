// CPU kernel: causal attention by tiles of queries. A tile multiplies with the span of keys that it can see and no more,
// so windows and packed segments cost what they see. Scores of one tile live in the cache; nothing of size S x S does.

#include <limits>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cpu_kernels.hpp"
#include "cpu_math.hpp"
#include "cpu_tasks.hpp"

namespace conclave::ops::cpu {
namespace {

using Index = std::int64_t;
constexpr Index tile_rows = 64;

/// For each query of one sequence the first key that it may see.
class Visibility {
 public:
  Visibility(const AttentionShape& shape, Index b) : first_(static_cast<std::size_t>(shape.length)) {
    segments_ = shape.segments != nullptr ? shape.segments + b * shape.length : nullptr;
    std::unordered_map<std::int32_t, Index> start;
    for (Index i = 0; i < shape.length; ++i) {
      Index first = 0;
      if (segments_ != nullptr) {
        if (i > 0 && segments_[i] == segments_[i - 1]) {
          first = start[segments_[i]];
        } else {
          const auto [where, fresh] = start.try_emplace(segments_[i], i);
          first = where->second;
          contiguous_ = contiguous_ && fresh;
        }
      }
      if (shape.window > 0) first = std::max(first, i - shape.window + 1);
      first_[static_cast<std::size_t>(i)] = first;
    }
  }
  [[nodiscard]] Index first(Index i) const { return first_[static_cast<std::size_t>(i)]; }
  /// The lowest key that any query of [begin, end) sees.
  [[nodiscard]] Index first(Index begin, Index end) const {
    Index lowest = begin;
    for (Index i = begin; i < end; ++i) lowest = std::min(lowest, first(i));
    return lowest;
  }
  /// Segment ids to compare key by key, or null where [first(i), i] is all visible.
  [[nodiscard]] const std::int32_t* compare() const { return contiguous_ ? nullptr : segments_; }

 private:
  std::vector<Index> first_;
  const std::int32_t* segments_ = nullptr;
  bool contiguous_ = true;
};

/// scores [span] of one query, keys [k0, k0 + span): to probabilities; returns the log of the sum of exponentials.
/// Visible keys are [first, last]; the others become 0.
template <class T>
CONCLAVE_INLINE T softmax_row(T* scores, Index span, Index first, Index last, T scale, const std::int32_t* segments,
                              std::int32_t own) {
  T top = -std::numeric_limits<T>::infinity();
  if (segments != nullptr) {
    for (Index j = first; j <= last; ++j) {
      if (segments[j] != own) scores[j] = -std::numeric_limits<T>::infinity();
    }
  }
#pragma omp simd reduction(max : top)
  for (Index j = first; j <= last; ++j) top = scores[j] > top ? scores[j] : top;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = first; j <= last; ++j) {
    scores[j] = exponential((scores[j] - top) * scale);
    sum += scores[j];
  }
  const T inverse = T{1} / sum;
#pragma omp simd
  for (Index j = first; j <= last; ++j) scores[j] *= inverse;
  for (Index j = 0; j < first; ++j) scores[j] = 0;
  for (Index j = last + 1; j < span; ++j) scores[j] = 0;
  if (segments != nullptr) {
    for (Index j = first; j <= last; ++j) {
      if (segments[j] != own) scores[j] = 0;
    }
  }
  return top * scale + std::log(sum);
}

/// Scores to probabilities again, from the saved lse.
template <class T>
CONCLAVE_INLINE void probability_row(T* scores, Index span, Index first, Index last, T scale, T lse,
                                     const std::int32_t* segments, std::int32_t own) {
#pragma omp simd
  for (Index j = first; j <= last; ++j) scores[j] = exponential(scores[j] * scale - lse);
  for (Index j = 0; j < first; ++j) scores[j] = 0;
  for (Index j = last + 1; j < span; ++j) scores[j] = 0;
  if (segments != nullptr) {
    for (Index j = first; j <= last; ++j) {
      if (segments[j] != own) scores[j] = 0;
    }
  }
}

template <class T>
CONCLAVE_INLINE T dot(const T* a, const T* b, Index n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < n; ++j) sum += a[j] * b[j];
  return sum;
}

/// d = p * (d - delta) * scale
template <class T>
CONCLAVE_INLINE void score_gradient_row(const T* p, T delta, T scale, Index n, T* d) {
#pragma omp simd
  for (Index j = 0; j < n; ++j) d[j] = p[j] * (d[j] - delta) * scale;
}

#define CONCLAVE_ROWS(T, CLONES)                                                                              \
  CLONES T run_softmax(T* scores, Index span, Index first, Index last, T scale, const std::int32_t* segments, \
                       std::int32_t own) {                                                                    \
    return softmax_row(scores, span, first, last, scale, segments, own);                                      \
  }                                                                                                           \
  CLONES void run_probability(T* scores, Index span, Index first, Index last, T scale, T lse,                 \
                              const std::int32_t* segments, std::int32_t own) {                               \
    probability_row(scores, span, first, last, scale, lse, segments, own);                                    \
  }                                                                                                           \
  CLONES T run_dot(const T* a, const T* b, Index n) { return dot(a, b, n); }                                  \
  CLONES void run_score_gradient(const T* p, T delta, T scale, Index n, T* d) {                               \
    score_gradient_row(p, delta, scale, n, d);                                                                \
  }
CONCLAVE_ROWS(float, CONCLAVE_CPU_CLONES)
CONCLAVE_ROWS(double, )
#undef CONCLAVE_ROWS

std::vector<Visibility> visibilities(const AttentionShape& shape) {
  std::vector<Visibility> all;
  all.reserve(static_cast<std::size_t>(shape.batch));
  for (Index b = 0; b < shape.batch; ++b) all.emplace_back(shape, b);
  return all;
}

} // namespace

template <class T>
void attention_forward(const AttentionShape& s, const T* query, const T* key, const T* value, T* out, T* lse) {
  const Index width = s.head_width, q_stride = s.heads * width, k_stride = s.kv_heads * width,
              group = s.heads / s.kv_heads;
  const Index tiles = (s.length + tile_rows - 1) / tile_rows;
  const T scale = T{1} / std::sqrt(static_cast<T>(width));
  const auto visible = visibilities(s);
  run_tasks(s.batch * s.heads * tiles, [&](Index task) {
    const Index b = task / (s.heads * tiles), h = task / tiles % s.heads,
                tile = tiles - 1 - task % tiles; // long ones first
    const Visibility& sees = visible[static_cast<std::size_t>(b)];
    const Index begin = tile * tile_rows, end = std::min(begin + tile_rows, s.length), rows = end - begin;
    const Index from = sees.first(begin, end), span = end - from;
    const T* q = query + (b * s.length + begin) * q_stride + h * width;
    const T* k = key + (b * s.length + from) * k_stride + h / group * width;
    const T* v = value + (b * s.length + from) * k_stride + h / group * width;
    const auto scores = std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(rows * span));
    gemm(Trans::no, Trans::yes, rows, span, width, T{1}, q, q_stride, k, k_stride, T{0}, scores.get(), span);
    const std::int32_t* compare = sees.compare();
    for (Index r = 0; r < rows; ++r) {
      const Index i = begin + r;
      lse[(b * s.heads + h) * s.length + i] =
          run_softmax(scores.get() + r * span, span, sees.first(i) - from, i - from, scale,
                      compare != nullptr ? compare + from : nullptr, compare != nullptr ? compare[i] : 0);
    }
    gemm(Trans::no, Trans::no, rows, width, span, T{1}, scores.get(), span, v, k_stride, T{0},
         out + (b * s.length + begin) * q_stride + h * width, q_stride);
  });
}

template <class T>
void attention_backward(const AttentionShape& s, const T* query, const T* key, const T* value, const T* out,
                        const T* lse, const T* dout, T* dquery, T* dkey, T* dvalue) {
  const Index width = s.head_width, q_stride = s.heads * width, k_stride = s.kv_heads * width,
              group = s.heads / s.kv_heads;
  const T scale = T{1} / std::sqrt(static_cast<T>(width));
  const auto visible = visibilities(s);
  // One task a key head: it alone writes that head's dkey and dvalue, in a fixed order.
  run_tasks(s.batch * s.kv_heads, [&](Index task) {
    const Index b = task / s.kv_heads, g = task % s.kv_heads;
    const Visibility& sees = visible[static_cast<std::size_t>(b)];
    const std::int32_t* compare = sees.compare();
    const auto size = static_cast<std::size_t>(tile_rows * s.length);
    const auto p = std::make_unique_for_overwrite<T[]>(size), d = std::make_unique_for_overwrite<T[]>(size);
    for (Index begin = 0; begin < s.length; begin += tile_rows) {
      const Index end = std::min(begin + tile_rows, s.length), rows = end - begin;
      const Index from = sees.first(begin, end), span = end - from;
      const Index key_at = (b * s.length + from) * k_stride + g * width;
      for (Index h = g * group; h < (g + 1) * group; ++h) {
        const Index query_at = (b * s.length + begin) * q_stride + h * width;
        gemm(Trans::no, Trans::yes, rows, span, width, T{1}, query + query_at, q_stride, key + key_at, k_stride, T{0},
             p.get(), span);
        gemm(Trans::no, Trans::yes, rows, span, width, T{1}, dout + query_at, q_stride, value + key_at, k_stride, T{0},
             d.get(), span);
        for (Index r = 0; r < rows; ++r) {
          const Index i = begin + r;
          const T delta = run_dot(out + query_at + r * q_stride, dout + query_at + r * q_stride, width);
          run_probability(p.get() + r * span, span, sees.first(i) - from, i - from, scale,
                          lse[(b * s.heads + h) * s.length + i], compare != nullptr ? compare + from : nullptr,
                          compare != nullptr ? compare[i] : 0);
          run_score_gradient(p.get() + r * span, delta, scale, span, d.get() + r * span);
        }
        gemm(Trans::yes, Trans::no, span, width, rows, T{1}, p.get(), span, dout + query_at, q_stride, T{1},
             dvalue + key_at, k_stride);
        gemm(Trans::no, Trans::no, rows, width, span, T{1}, d.get(), span, key + key_at, k_stride, T{0},
             dquery + query_at, q_stride);
        gemm(Trans::yes, Trans::no, span, width, rows, T{1}, d.get(), span, query + query_at, q_stride, T{1},
             dkey + key_at, k_stride);
      }
    }
  });
}

#define CONCLAVE_INSTANTIATE(T)                                                                                       \
  template void attention_forward(const AttentionShape&, const T*, const T*, const T*, T*, T*);                       \
  template void attention_backward(const AttentionShape&, const T*, const T*, const T*, const T*, const T*, const T*, \
                                   T*, T*, T*);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

} // namespace conclave::ops::cpu
