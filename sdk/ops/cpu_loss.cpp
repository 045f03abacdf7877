// CPU kernel: cross entropy of rows of logits, and its gradient in place of the logits; in one pass a row, or in steps when
// other ranks hold the other columns.

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>

#include "cpu_kernels.hpp"
#include "cpu_math.hpp"

namespace conclave::ops::cpu {
namespace {

using Index = std::int64_t;

/// Partial sums of this many terms are added in fp64: one running fp32 sum over a vocabulary of 200,000 loses four digits
/// where the compiler does not split it over lanes.
constexpr Index sum_block = 1024;

template <class T>
struct RowSums {
  double exponentials = 0, logits = 0;
  T label = 0;
};

template <class T>
CONCLAVE_INLINE T row_maximum(const T* logits, Index columns) {
  T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
  for (Index j = 0; j < columns; ++j) top = logits[j] > top ? logits[j] : top;
  return top;
}

/// Turns the logits into exponentials of their distance from `top`.
template <class T>
CONCLAVE_INLINE RowSums<T> row_sums(const LossShape& s, T* logits, Index label, T top) {
  RowSums<T> sums;
  if (label >= 0 && label < s.columns) sums.label = logits[label];
  for (Index block = 0; block < s.columns; block += sum_block) {
    const Index end = std::min(s.columns, block + sum_block);
    if (s.label_smoothing > 0) {
      T part = 0;
#pragma omp simd reduction(+ : part)
      for (Index j = block; j < end; ++j) part += logits[j];
      sums.logits += static_cast<double>(part);
    }
    T part = 0;
#pragma omp simd reduction(+ : part)
    for (Index j = block; j < end; ++j) {
      logits[j] = exponential(logits[j] - top);
      part += logits[j];
    }
    sums.exponentials += static_cast<double>(part);
  }
  return sums;
}

/// `row` holds the exponentials; top and sums are those of the whole vocabulary.
template <class T>
CONCLAVE_INLINE void finish_row(const LossShape& s, T* row, Index label, T top, const RowSums<T>& sums, T* loss,
                                T* nll) {
  const T mean = static_cast<T>(sums.logits / static_cast<double>(s.vocabulary));
  const T sum = static_cast<T>(sums.exponentials), lse = top + std::log(sum);
  const T smoothing = static_cast<T>(s.label_smoothing), z = static_cast<T>(s.z_loss);
  *nll = lse - sums.label;
  *loss = (T{1} - smoothing) * (lse - sums.label) + z * lse * lse;
  if (s.label_smoothing > 0) *loss += smoothing * (lse - mean);
  if (!s.gradient) return;
  const T factor = (T{1} + T{2} * z * lse) / sum, spread = smoothing / static_cast<T>(s.vocabulary);
#pragma omp simd
  for (Index j = 0; j < s.columns; ++j) row[j] = row[j] * factor - spread;
  if (label >= 0 && label < s.columns) row[label] -= T{1} - smoothing;
}

template <class T>
CONCLAVE_INLINE void not_counted(const LossShape& s, T* row, T* loss, T* nll) {
  *loss = *nll = 0;
  if (s.gradient) std::fill_n(row, s.columns, T{0});
}

template <class T>
CONCLAVE_INLINE void whole_rows(const LossShape& s, const LossRows<T>& in, Index begin, Index end) {
  for (Index r = begin; r < end; ++r) {
    T* row = in.logits + r * s.columns;
    if (!in.counted[r]) {
      not_counted(s, row, in.loss + r, in.nll + r);
      continue;
    }
    const T top = row_maximum(row, s.columns);
    const RowSums<T> sums = row_sums(s, row, in.labels[r], top);
    finish_row(s, row, in.labels[r], top, sums, in.loss + r, in.nll + r);
  }
}

template <class T>
CONCLAVE_INLINE void maxima_of_rows(const LossShape& s, const LossRows<T>& in, Index begin, Index end) {
  for (Index r = begin; r < end; ++r)
    in.maxima[r] = in.counted[r] ? row_maximum(in.logits + r * s.columns, s.columns) : 0;
}

template <class T>
CONCLAVE_INLINE void sums_of_rows(const LossShape& s, const LossRows<T>& in, Index begin, Index end) {
  for (Index r = begin; r < end; ++r) {
    RowSums<T> sums;
    if (in.counted[r]) sums = row_sums(s, in.logits + r * s.columns, in.labels[r], in.maxima[r]);
    in.sums[r] = static_cast<T>(sums.exponentials);
    in.sums[s.rows + r] = sums.label;
    if (s.label_smoothing > 0) in.sums[2 * s.rows + r] = static_cast<T>(sums.logits);
  }
}

template <class T>
CONCLAVE_INLINE void finish_rows(const LossShape& s, const LossRows<T>& in, Index begin, Index end) {
  for (Index r = begin; r < end; ++r) {
    T* row = in.logits + r * s.columns;
    if (!in.counted[r]) {
      not_counted(s, row, in.loss + r, in.nll + r);
      continue;
    }
    RowSums<T> sums{static_cast<double>(in.sums[r]), 0, in.sums[s.rows + r]};
    if (s.label_smoothing > 0) sums.logits = static_cast<double>(in.sums[2 * s.rows + r]);
    finish_row(s, row, in.labels[r], in.maxima[r], sums, in.loss + r, in.nll + r);
  }
}

#define CONCLAVE_ROWS(T, CLONES)                                                              \
  CLONES void run_whole(const LossShape& s, const LossRows<T>& in, Index begin, Index end) {  \
    whole_rows(s, in, begin, end);                                                            \
  }                                                                                           \
  CLONES void run_maxima(const LossShape& s, const LossRows<T>& in, Index begin, Index end) { \
    maxima_of_rows(s, in, begin, end);                                                        \
  }                                                                                           \
  CLONES void run_sums(const LossShape& s, const LossRows<T>& in, Index begin, Index end) {   \
    sums_of_rows(s, in, begin, end);                                                          \
  }                                                                                           \
  CLONES void run_finish(const LossShape& s, const LossRows<T>& in, Index begin, Index end) { \
    finish_rows(s, in, begin, end);                                                           \
  }
CONCLAVE_ROWS(float, CONCLAVE_CPU_CLONES)
CONCLAVE_ROWS(double, )
#undef CONCLAVE_ROWS

template <class Body>
void over_rows(const LossShape& s, const Body& body) {
  at::parallel_for(0, s.rows, std::max<Index>(1, 16384 / std::max<Index>(1, s.columns)), body);
}

} // namespace

template <class T>
void cross_entropy_rows(const LossShape& s, const LossRows<T>& rows) {
  over_rows(s, [&](Index begin, Index end) { run_whole(s, rows, begin, end); });
}
template <class T>
void cross_entropy_maxima(const LossShape& s, const LossRows<T>& rows) {
  over_rows(s, [&](Index begin, Index end) { run_maxima(s, rows, begin, end); });
}
template <class T>
void cross_entropy_sums(const LossShape& s, const LossRows<T>& rows) {
  over_rows(s, [&](Index begin, Index end) { run_sums(s, rows, begin, end); });
}
template <class T>
void cross_entropy_finish(const LossShape& s, const LossRows<T>& rows) {
  over_rows(s, [&](Index begin, Index end) { run_finish(s, rows, begin, end); });
}

#define CONCLAVE_INSTANTIATE(T)                                             \
  template void cross_entropy_rows(const LossShape&, const LossRows<T>&);   \
  template void cross_entropy_maxima(const LossShape&, const LossRows<T>&); \
  template void cross_entropy_sums(const LossShape&, const LossRows<T>&);   \
  template void cross_entropy_finish(const LossShape&, const LossRows<T>&);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

} // namespace conclave::ops::cpu
