// Private tools of the CPU kernels: BLAS by pointer, a vectorisable exponential, and per-instruction-set clones.
//
// The kernels (cpu_*.cpp) take plain pointers and sizes and include no tensor header, so they compile in a second.
// Rules: no global state; every result is independent of the thread count, because each output element is summed by one
// task in a fixed order.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

/// Compiles a function for AVX2 too and picks at load time. The bodies must be inlined into it, hence the macro below.
/// Not under sanitizers: their run-time is not up when the loader runs resolvers.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define CONCLAVE_CPU_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CONCLAVE_CPU_CLONES
#endif
#define CONCLAVE_INLINE inline __attribute__((always_inline))

// The BLAS inside libtorch_cpu (MKL on x86). Serial when called inside a parallel region.
extern "C" {
void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k, const float* alpha,
            const float* a, const int* lda, const float* b, const int* ldb, const float* beta, float* c,
            const int* ldc);
void dgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k, const double* alpha,
            const double* a, const int* lda, const double* b, const int* ldb, const double* beta, double* c,
            const int* ldc);
}

namespace conclave::ops::cpu {

enum class Trans : bool { no, yes };

/// Row-major C [m, n] = alpha op(A) [m, k] op(B) [k, n] + beta C. Strides are those of the stored matrices' rows. With
/// beta 0 the old content of C is not read. m, n of 0 do nothing; k of 0 scales C.
template <class T>
inline void gemm(Trans trans_a, Trans trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T alpha, const T* a,
                 std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == T{0} ? T{0} : beta * c[i * ldc + j];
    return;
  }
  // BLAS is column-major: compute C^T = op(B)^T op(A)^T on the same memory.
  const char ta = trans_a == Trans::yes ? 'T' : 'N', tb = trans_b == Trans::yes ? 'T' : 'N';
  const int im = static_cast<int>(m), in = static_cast<int>(n), ik = static_cast<int>(k);
  const int ia = static_cast<int>(lda), ib = static_cast<int>(ldb), ic = static_cast<int>(ldc);
  if constexpr (std::is_same_v<T, float>) {
    sgemm_(&tb, &ta, &in, &im, &ik, &alpha, b, &ib, a, &ia, &beta, c, &ic);
  } else {
    dgemm_(&tb, &ta, &in, &im, &ik, &alpha, b, &ib, a, &ia, &beta, c, &ic);
  }
}

/// e^x. fp32: without branches or calls, so that loops over it vectorise; within 2 ulp; the
/// argument is clamped to [-87, 88], so the smallest value is 1.6e-38.
CONCLAVE_INLINE float exponential(float x) {
  float clamped = x < -87.0f ? -87.0f : x; // one comparison at a time: each becomes a select, not a branch
  clamped = clamped > 88.0f ? 88.0f : clamped;
  const float n = (clamped * 1.44269504088896341f + 12582912.0f) - 12582912.0f; // round to nearest
  // x - n ln 2 in two parts, then the polynomial of Cephes' expf on [-ln 2 / 2, ln 2 / 2].
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float value = (p * r * r + r) + 1.0f;
  const float scale = std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
  return value * scale;
}
CONCLAVE_INLINE double exponential(double x) { return std::exp(x); }

template <class T>
CONCLAVE_INLINE T sigmoid(T x) {
  return T{1} / (T{1} + exponential(-x));
}

} // namespace conclave::ops::cpu
