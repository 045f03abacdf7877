// CPU kernels: RMSNorm, head gate and SwiGLU activation. One pass over rows each.

#include <ATen/Parallel.h>

#include "cpu_kernels.hpp"
#include "cpu_math.hpp"

namespace conclave::ops::cpu {
namespace {

using Index = std::int64_t;

template <class T>
CONCLAVE_INLINE void norm_rows(const T* x, const T* w, Index rows, Index width, double eps, T* y, T* scale) {
  for (Index r = 0; r < rows; ++r, x += width, y += width) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (Index j = 0; j < width; ++j) sum += x[j] * x[j];
    const T s = T{1} / std::sqrt(sum / static_cast<T>(width) + static_cast<T>(eps));
    scale[r] = s;
#pragma omp simd
    for (Index j = 0; j < width; ++j) y[j] = x[j] * s * w[j];
  }
}

template <class T>
CONCLAVE_INLINE void norm_rows_backward(const T* dy, const T* x, const T* w, const T* scale, Index rows, Index width,
                                        T* dx, T* dw) {
  for (Index r = 0; r < rows; ++r, dy += width, x += width, dx += width) {
    const T s = scale[r];
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (Index j = 0; j < width; ++j) dot += dy[j] * w[j] * x[j];
    const T c = dot * s * s / static_cast<T>(width);
#pragma omp simd
    for (Index j = 0; j < width; ++j) {
      dx[j] = s * (dy[j] * w[j] - x[j] * c);
      dw[j] += dy[j] * x[j] * s;
    }
  }
}

template <class T>
CONCLAVE_INLINE void gate_rows(const T* x, const T* logits, Index rows, Index width, T* y) {
  for (Index r = 0; r < rows; ++r) {
    const T g = T{2} * sigmoid(logits[r]);
#pragma omp simd
    for (Index j = 0; j < width; ++j) y[r * width + j] = x[r * width + j] * g;
  }
}

template <class T>
CONCLAVE_INLINE void gate_rows_backward(const T* dy, const T* x, const T* logits, Index rows, Index width, T* dx,
                                        T* dlogits) {
  for (Index r = 0; r < rows; ++r) {
    const T s = sigmoid(logits[r]);
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (Index j = 0; j < width; ++j) {
      dot += dy[r * width + j] * x[r * width + j];
      dx[r * width + j] = dy[r * width + j] * (T{2} * s);
    }
    dlogits[r] = dot * T{2} * s * (T{1} - s);
  }
}

template <class T>
CONCLAVE_INLINE void swiglu_rows(const T* in, Index rows, Index width, T* y) {
  for (Index r = 0; r < rows; ++r, in += 2 * width, y += width) {
#pragma omp simd
    for (Index j = 0; j < width; ++j) y[j] = in[j] * sigmoid(in[j]) * in[width + j];
  }
}

template <class T>
CONCLAVE_INLINE void swiglu_rows_backward(const T* dy, const T* in, Index rows, Index width, T* din) {
  for (Index r = 0; r < rows; ++r, in += 2 * width, din += 2 * width, dy += width) {
#pragma omp simd
    for (Index j = 0; j < width; ++j) {
      const T g = in[j], u = in[width + j], s = sigmoid(g);
      din[j] = dy[j] * u * s * (T{1} + g * (T{1} - s));
      din[width + j] = dy[j] * g * s;
    }
  }
}

// The fp32 bodies once for each instruction set; fp64 serves tests and reference runs.
#define CONCLAVE_ROWS(T, CLONES)                                                                                     \
  CLONES void run_norm(const T* x, const T* w, Index rows, Index width, double eps, T* y, T* scale) {                \
    norm_rows(x, w, rows, width, eps, y, scale);                                                                     \
  }                                                                                                                  \
  CLONES void run_norm_backward(const T* dy, const T* x, const T* w, const T* scale, Index rows, Index width, T* dx, \
                                T* dw) {                                                                             \
    norm_rows_backward(dy, x, w, scale, rows, width, dx, dw);                                                        \
  }                                                                                                                  \
  CLONES void run_gate(const T* x, const T* logits, Index rows, Index width, T* y) {                                 \
    gate_rows(x, logits, rows, width, y);                                                                            \
  }                                                                                                                  \
  CLONES void run_gate_backward(const T* dy, const T* x, const T* logits, Index rows, Index width, T* dx,            \
                                T* dlogits) {                                                                        \
    gate_rows_backward(dy, x, logits, rows, width, dx, dlogits);                                                     \
  }                                                                                                                  \
  CLONES void run_swiglu(const T* in, Index rows, Index width, T* y) { swiglu_rows(in, rows, width, y); }            \
  CLONES void run_swiglu_backward(const T* dy, const T* in, Index rows, Index width, T* din) {                       \
    swiglu_rows_backward(dy, in, rows, width, din);                                                                  \
  }
CONCLAVE_ROWS(float, CONCLAVE_CPU_CLONES)
CONCLAVE_ROWS(double, )
#undef CONCLAVE_ROWS

/// Rows that are worth a thread.
Index grain(Index width) { return std::max<Index>(1, 16384 / std::max<Index>(1, width)); }

} // namespace

template <class T>
void rms_norm_forward(const T* x, const T* weight, Index rows, Index width, double eps, T* y, T* scale) {
  at::parallel_for(0, rows, grain(width), [&](Index begin, Index end) {
    run_norm(x + begin * width, weight, end - begin, width, eps, y + begin * width, scale + begin);
  });
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* weight, const T* scale, Index rows, Index width, T* dx,
                       T* dweight) {
  const Index blocks = reduction_blocks(rows);
  at::parallel_for(0, blocks, 1, [&](Index first, Index last) {
    for (Index b = first; b < last; ++b) {
      const Index begin = rows * b / blocks, end = rows * (b + 1) / blocks;
      run_norm_backward(dy + begin * width, x + begin * width, weight, scale + begin, end - begin, width,
                        dx + begin * width, dweight + b * width);
    }
  });
}

template <class T>
void gate_forward(const T* x, const T* logits, Index rows, Index width, T* y) {
  at::parallel_for(0, rows, grain(width), [&](Index begin, Index end) {
    run_gate(x + begin * width, logits + begin, end - begin, width, y + begin * width);
  });
}

template <class T>
void gate_backward(const T* dy, const T* x, const T* logits, Index rows, Index width, T* dx, T* dlogits) {
  at::parallel_for(0, rows, grain(width), [&](Index begin, Index end) {
    run_gate_backward(dy + begin * width, x + begin * width, logits + begin, end - begin, width, dx + begin * width,
                      dlogits + begin);
  });
}

template <class T>
void swiglu_forward(const T* gate_and_up, Index rows, Index width, T* y) {
  at::parallel_for(0, rows, grain(width), [&](Index begin, Index end) {
    run_swiglu(gate_and_up + begin * 2 * width, end - begin, width, y + begin * width);
  });
}

template <class T>
void swiglu_backward(const T* dy, const T* gate_and_up, Index rows, Index width, T* dgate_and_up) {
  at::parallel_for(0, rows, grain(width), [&](Index begin, Index end) {
    run_swiglu_backward(dy + begin * width, gate_and_up + begin * 2 * width, end - begin, width,
                        dgate_and_up + begin * 2 * width);
  });
}

#define CONCLAVE_INSTANTIATE(T)                                                                  \
  template void rms_norm_forward(const T*, const T*, Index, Index, double, T*, T*);              \
  template void rms_norm_backward(const T*, const T*, const T*, const T*, Index, Index, T*, T*); \
  template void gate_forward(const T*, const T*, Index, Index, T*);                              \
  template void gate_backward(const T*, const T*, const T*, Index, Index, T*, T*);               \
  template void swiglu_forward(const T*, Index, Index, T*);                                      \
  template void swiglu_backward(const T*, const T*, Index, Index, T*);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

} // namespace conclave::ops::cpu
