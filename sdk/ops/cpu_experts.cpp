// CPU kernel: Mixture of SwiGLU experts. Work is cut into (expert, block of rows) tasks, each a few serial products on
// memory that fits the cache; threads take the next task when they are free.

#include <memory>

#include "cpu_kernels.hpp"
#include "cpu_math.hpp"
#include "cpu_tasks.hpp"

namespace conclave::ops::cpu {
namespace {

using Index = std::int64_t;
constexpr Index block_rows = 128;

struct Block {
  Index expert, begin, end; ///< sorted rows
};

std::vector<Block> blocks_of(const ExpertPlan& plan) {
  std::vector<Block> blocks;
  for (std::size_t e = 0; e + 1 < plan.begin.size(); ++e) {
    for (Index begin = plan.begin[e]; begin < plan.begin[e + 1]; begin += block_rows) {
      blocks.push_back({static_cast<Index>(e), begin, std::min(begin + block_rows, plan.begin[e + 1])});
    }
  }
  return blocks;
}

template <class T>
std::unique_ptr<T[]> scratch(Index elements) {
  return std::make_unique_for_overwrite<T[]>(static_cast<std::size_t>(elements));
}

/// out [n, width]: rows of the tokens of the pairs.
template <class T>
void gather(const T* from, const std::int64_t* pair, Index n, Index top_k, Index width, T* out) {
  for (Index r = 0; r < n; ++r) std::copy_n(from + pair[r] / top_k * width, width, out + r * width);
}

template <class T>
CONCLAVE_INLINE void activate(const T* in, const T* weights, const std::int64_t* pair, Index n, Index hidden, T* out) {
  for (Index r = 0; r < n; ++r) {
    const T w = weights[pair[r]];
    const T *gate = in + r * 2 * hidden, *up = gate + hidden;
#pragma omp simd
    for (Index j = 0; j < hidden; ++j) out[r * hidden + j] = w * gate[j] * sigmoid(gate[j]) * up[j];
  }
}

/// dweighted [n, hidden]: gradient of w * a(gate, up). Writes the gradients of gate and up, of w, and w * a again.
template <class T>
CONCLAVE_INLINE void activate_backward(const T* dweighted, const T* in, const T* weights, const std::int64_t* pair,
                                       Index n, Index hidden, T* din, T* weighted, T* dweights) {
  for (Index r = 0; r < n; ++r) {
    const T w = weights[pair[r]];
    const T *gate = in + r * 2 * hidden, *up = gate + hidden, *d = dweighted + r * hidden;
    T *dgate = din + r * 2 * hidden, *dup = dgate + hidden, *again = weighted + r * hidden;
    T along = 0;
#pragma omp simd reduction(+ : along)
    for (Index j = 0; j < hidden; ++j) {
      const T s = sigmoid(gate[j]), silu = gate[j] * s;
      along += d[j] * silu * up[j];
      again[j] = w * silu * up[j];
      dgate[j] = w * d[j] * up[j] * s * (T{1} + gate[j] * (T{1} - s));
      dup[j] = w * d[j] * silu;
    }
    dweights[pair[r]] = along;
  }
}

/// out_t = addend_t + sum over the choices of t, in the order of choice.
template <class T>
CONCLAVE_INLINE void reduce(const T* rows, const std::int64_t* position, const T* addend, Index begin, Index end,
                            Index top_k, Index width, T* out) {
  for (Index t = begin; t < end; ++t) {
    T* to = out + t * width;
    const T* first = rows + position[t * top_k] * width;
    if (addend != nullptr) {
      const T* plus = addend + t * width;
#pragma omp simd
      for (Index j = 0; j < width; ++j) to[j] = plus[j] + first[j];
    } else {
      std::copy_n(first, width, to);
    }
    for (Index k = 1; k < top_k; ++k) {
      const T* row = rows + position[t * top_k + k] * width;
#pragma omp simd
      for (Index j = 0; j < width; ++j) to[j] += row[j];
    }
  }
}

#define CONCLAVE_ROWS(T, CLONES)                                                                                     \
  CLONES void run_activate(const T* in, const T* weights, const std::int64_t* pair, Index n, Index hidden, T* out) { \
    activate(in, weights, pair, n, hidden, out);                                                                     \
  }                                                                                                                  \
  CLONES void run_activate_backward(const T* dweighted, const T* in, const T* weights, const std::int64_t* pair,     \
                                    Index n, Index hidden, T* din, T* weighted, T* dweights) {                       \
    activate_backward(dweighted, in, weights, pair, n, hidden, din, weighted, dweights);                             \
  }                                                                                                                  \
  CLONES void run_reduce(const T* rows, const std::int64_t* position, const T* addend, Index begin, Index end,       \
                         Index top_k, Index width, T* out) {                                                         \
    reduce(rows, position, addend, begin, end, top_k, width, out);                                                   \
  }
CONCLAVE_ROWS(float, CONCLAVE_CPU_CLONES)
CONCLAVE_ROWS(double, )
#undef CONCLAVE_ROWS

template <class T>
void reduce_tokens(const ExpertShape& s, const ExpertPlan& plan, const T* rows, const T* addend, T* out) {
  at::parallel_for(0, s.tokens, std::max<Index>(1, 16384 / s.width), [&](Index begin, Index end) {
    run_reduce(rows, plan.position.data(), addend, begin, end, s.top_k, s.width, out);
  });
}

} // namespace

ExpertPlan plan_experts(const std::int64_t* chosen, const ExpertShape& s) {
  const Index pairs = s.tokens * s.top_k;
  ExpertPlan plan;
  plan.begin.assign(static_cast<std::size_t>(s.experts + 1), 0);
  plan.pair.resize(static_cast<std::size_t>(pairs));
  plan.position.resize(plan.pair.size());
  for (Index p = 0; p < pairs; ++p) ++plan.begin[static_cast<std::size_t>(chosen[p]) + 1];
  for (std::size_t e = 0; e < static_cast<std::size_t>(s.experts); ++e) plan.begin[e + 1] += plan.begin[e];
  std::vector<Index> next(plan.begin.begin(), plan.begin.end() - 1);
  for (Index p = 0; p < pairs; ++p) {
    const Index row = next[static_cast<std::size_t>(chosen[p])]++;
    plan.pair[static_cast<std::size_t>(row)] = p;
    plan.position[static_cast<std::size_t>(p)] = row;
  }
  return plan;
}

template <class T>
void experts_forward(const ExpertShape& s, const ExpertPlan& plan, const ExpertInputs<T>& in, const T* addend,
                     T* preactivation, T* y) {
  const std::vector<Block> blocks = blocks_of(plan);
  const auto rows = scratch<T>(s.tokens * s.top_k * s.width);
  run_tasks(static_cast<Index>(blocks.size()), [&](Index i) {
    const auto [e, begin, end] = blocks[static_cast<std::size_t>(i)];
    const Index n = end - begin;
    const std::int64_t* pair = plan.pair.data() + begin;
    const auto x = scratch<T>(n * s.width), weighted = scratch<T>(n * s.hidden);
    T* before = preactivation + begin * 2 * s.hidden;
    gather(in.x, pair, n, s.top_k, s.width, x.get());
    gemm(Trans::no, Trans::yes, n, 2 * s.hidden, s.width, T{1}, x.get(), s.width,
         in.gate_up + e * 2 * s.hidden * s.width, s.width, T{0}, before, 2 * s.hidden);
    run_activate(before, in.weights, pair, n, s.hidden, weighted.get());
    gemm(Trans::no, Trans::yes, n, s.width, s.hidden, T{1}, weighted.get(), s.hidden, in.down + e * s.width * s.hidden,
         s.hidden, T{0}, rows.get() + begin * s.width, s.width);
  });
  reduce_tokens(s, plan, rows.get(), addend, y);
}

template <class T>
void experts_backward(const ExpertShape& s, const ExpertPlan& plan, const ExpertInputs<T>& in, const T* preactivation,
                      const T* dy, const ExpertGradients<T>& out) {
  const Index pairs = s.tokens * s.top_k;
  const std::vector<Block> blocks = blocks_of(plan);
  // In sorted order: inputs, output gradients, weighted activations, and gradients of the preactivations and inputs.
  const auto x = scratch<T>(pairs * s.width), drows = scratch<T>(pairs * s.width), dx = scratch<T>(pairs * s.width);
  const auto weighted = scratch<T>(pairs * s.hidden), dbefore = scratch<T>(pairs * 2 * s.hidden);
  run_tasks(static_cast<Index>(blocks.size()), [&](Index i) {
    const auto [e, begin, end] = blocks[static_cast<std::size_t>(i)];
    const Index n = end - begin;
    const std::int64_t* pair = plan.pair.data() + begin;
    const auto dweighted = scratch<T>(n * s.hidden);
    gather(in.x, pair, n, s.top_k, s.width, x.get() + begin * s.width);
    gather(dy, pair, n, s.top_k, s.width, drows.get() + begin * s.width);
    gemm(Trans::no, Trans::no, n, s.hidden, s.width, T{1}, drows.get() + begin * s.width, s.width,
         in.down + e * s.width * s.hidden, s.hidden, T{0}, dweighted.get(), s.hidden);
    run_activate_backward(dweighted.get(), preactivation + begin * 2 * s.hidden, in.weights, pair, n, s.hidden,
                          dbefore.get() + begin * 2 * s.hidden, weighted.get() + begin * s.hidden, out.dweights);
    gemm(Trans::no, Trans::no, n, s.width, 2 * s.hidden, T{1}, dbefore.get() + begin * 2 * s.hidden, 2 * s.hidden,
         in.gate_up + e * 2 * s.hidden * s.width, s.width, T{0}, dx.get() + begin * s.width, s.width);
  });
  run_tasks(2 * s.experts, [&](Index i) {
    const Index e = i / 2, begin = plan.begin[static_cast<std::size_t>(e)],
                n = plan.begin[static_cast<std::size_t>(e) + 1] - begin;
    if (i % 2 == 0) {
      gemm(Trans::yes, Trans::no, 2 * s.hidden, s.width, n, T{1}, dbefore.get() + begin * 2 * s.hidden, 2 * s.hidden,
           x.get() + begin * s.width, s.width, out.add_gate_up ? T{1} : T{0}, out.dgate_up + e * 2 * s.hidden * s.width,
           s.width);
    } else {
      gemm(Trans::yes, Trans::no, s.width, s.hidden, n, T{1}, drows.get() + begin * s.width, s.width,
           weighted.get() + begin * s.hidden, s.hidden, out.add_down ? T{1} : T{0}, out.ddown + e * s.width * s.hidden,
           s.hidden);
    }
  });
  reduce_tokens<T>(s, plan, dx.get(), nullptr, out.dx);
}

#define CONCLAVE_INSTANTIATE(T)                                                                                     \
  template void experts_forward(const ExpertShape&, const ExpertPlan&, const ExpertInputs<T>&, const T*, T*, T*);   \
  template void experts_backward(const ExpertShape&, const ExpertPlan&, const ExpertInputs<T>&, const T*, const T*, \
                                 const ExpertGradients<T>&);
CONCLAVE_INSTANTIATE(float)
CONCLAVE_INSTANTIATE(double)
#undef CONCLAVE_INSTANTIATE

} // namespace conclave::ops::cpu
