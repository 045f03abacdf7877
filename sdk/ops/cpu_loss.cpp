// CPU kernel: cross entropy of rows of logits, and its gradient in place of the logits.

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
CONCLAVE_INLINE void loss_row(const LossShape& s, T* logits, Index label, T* loss, T* nll) {
  const Index v = s.vocabulary;
  T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
  for (Index j = 0; j < v; ++j) top = logits[j] > top ? logits[j] : top;
  const T own = logits[label];
  double total = 0, exponentials = 0;
  for (Index block = 0; block < v; block += sum_block) {
    const Index end = std::min(v, block + sum_block);
    if (s.label_smoothing > 0) {
      T part = 0;
#pragma omp simd reduction(+ : part)
      for (Index j = block; j < end; ++j) part += logits[j];
      total += static_cast<double>(part);
    }
    T part = 0;
#pragma omp simd reduction(+ : part)
    for (Index j = block; j < end; ++j) {
      logits[j] = exponential(logits[j] - top);
      part += logits[j];
    }
    exponentials += static_cast<double>(part);
  }
  const T mean = static_cast<T>(total / static_cast<double>(v)), sum = static_cast<T>(exponentials);
  const T lse = top + std::log(sum), smoothing = static_cast<T>(s.label_smoothing), z = static_cast<T>(s.z_loss);
  *nll = lse - own;
  *loss = (T{1} - smoothing) * (lse - own) + z * lse * lse;
  if (s.label_smoothing > 0) *loss += smoothing * (lse - mean);
  if (!s.gradient) return;
  const T factor = (T{1} + T{2} * z * lse) / sum, spread = smoothing / static_cast<T>(v);
#pragma omp simd
  for (Index j = 0; j < v; ++j) logits[j] = logits[j] * factor - spread;
  logits[label] -= T{1} - smoothing;
}

template <class T>
CONCLAVE_INLINE void loss_rows(const LossShape& s, T* logits, const std::int64_t* labels, const bool* counted,
                               Index begin, Index end, T* loss, T* nll) {
  for (Index r = begin; r < end; ++r) {
    if (counted[r]) {
      loss_row(s, logits + r * s.vocabulary, labels[r], loss + r, nll + r);
    } else {
      loss[r] = nll[r] = 0;
      if (s.gradient) std::fill_n(logits + r * s.vocabulary, s.vocabulary, T{0});
    }
  }
}

#define CONCLAVE_ROWS(T, CLONES)                                                                                    \
  CLONES void run_rows(const LossShape& s, T* logits, const std::int64_t* labels, const bool* counted, Index begin, \
                       Index end, T* loss, T* nll) {                                                                \
    loss_rows(s, logits, labels, counted, begin, end, loss, nll);                                                   \
  }
CONCLAVE_ROWS(float, CONCLAVE_CPU_CLONES)
CONCLAVE_ROWS(double, )
#undef CONCLAVE_ROWS

} // namespace

template <class T>
void cross_entropy_rows(const LossShape& shape, T* logits, const std::int64_t* labels, const bool* counted, T* loss,
                        T* nll) {
  at::parallel_for(0, shape.rows, std::max<Index>(1, 16384 / shape.vocabulary),
                   [&](Index begin, Index end) { run_rows(shape, logits, labels, counted, begin, end, loss, nll); });
}

template void cross_entropy_rows(const LossShape&, float*, const std::int64_t*, const bool*, float*, float*);
template void cross_entropy_rows(const LossShape&, double*, const std::int64_t*, const bool*, double*, double*);

} // namespace conclave::ops::cpu
