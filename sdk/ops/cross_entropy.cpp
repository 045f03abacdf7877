// cross_entropy: the output projection and its loss, a chunk of tokens at a time; the vocabulary may be split over ranks.

#include "conclave/ops/cross_entropy.hpp"

#include <ATen/Dispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "cpu_kernels.hpp"
#include "function.hpp"
#include "gpu_kernels.hpp"
#include "projected_loss.hpp"

namespace conclave::ops {
namespace {

struct CrossEntropyState {
  CrossEntropyOptions options; ///< vocabulary > 0
  GradSink* sink = nullptr;
  Group* group = nullptr; ///< null: the head holds the whole vocabulary
  std::int64_t first = 0; ///< id of the head's first row
  bool wants_gradients = false;
};

/// Few enough that a chunk's logits fit into the CPU's last cache level, enough to fill a GPU, there in whole tiles of a product.
std::int64_t chunk_rows(const at::Tensor& hidden, std::int64_t columns) {
  if (hidden.is_cpu()) return std::clamp<std::int64_t>((std::int64_t{1} << 21) / columns, 16, 8192);
  constexpr std::int64_t tile = 256;
  return std::clamp<std::int64_t>((std::int64_t{1} << 27) / columns / tile * tile, tile, 8192);
}

/// n tokens; numbers in the accumulation type.
struct Chunk {
  at::Tensor logits; ///< [n, columns]; then exponentials, then the gradient of the summed loss
  at::Tensor labels; ///< [n]: column of the label; outside [0, columns) where another rank has it
  at::Tensor mask;   ///< [n] bool
  at::Tensor maxima; ///< [n]
  at::Tensor sums;   ///< [2 or 3, n]: of exp(logit - maximum), of the label's logit, with smoothing of logits
  at::Tensor loss;   ///< [n], 0 where masked
  at::Tensor nll;    ///< [n], 0 where masked; written in place
};

template <class T>
cpu::LossRows<T> rows_of(Chunk& c) {
  return {c.logits.mutable_data_ptr<T>(), c.labels.const_data_ptr<std::int64_t>(),
          c.mask.const_data_ptr<bool>(),  c.maxima.mutable_data_ptr<T>(),
          c.sums.mutable_data_ptr<T>(),   c.loss.mutable_data_ptr<T>(),
          c.nll.mutable_data_ptr<T>()};
}

// The three steps with ATen's operators.

void aten_maxima(Chunk& c) {
  if (c.logits.size(1) > 0)
    c.maxima = c.logits.amax(1);
  else
    c.maxima.fill_(-std::numeric_limits<double>::infinity());
}

/// The label's column, clamped into the chunk's, and whether it is one of them.
std::pair<at::Tensor, at::Tensor> own_labels(const Chunk& c) {
  const std::int64_t columns = c.logits.size(1);
  return {c.labels.clamp(0, columns - 1).unsqueeze(1), c.labels.ge(0).logical_and_(c.labels.lt(columns)).unsqueeze(1)};
}

void aten_sums(Chunk& c) {
  c.sums.zero_();
  if (c.logits.size(1) == 0) return;
  const auto [column, own] = own_labels(c);
  c.sums.select(0, 1).copy_(c.logits.gather(1, column).masked_fill_(own.logical_not(), 0).squeeze(1));
  if (c.sums.size(0) > 2) c.sums.select(0, 2).copy_(c.logits.sum(1));
  c.logits.sub_(c.maxima.unsqueeze(1)).exp_();
  c.sums.select(0, 0).copy_(c.logits.sum(1));
}

void aten_finish(Chunk& c, const cpu::LossShape& s) {
  const at::Tensor counts = c.mask.to(c.logits.scalar_type()), sum = c.sums.select(0, 0), lse = c.maxima + sum.log();
  const double smoothing = s.label_smoothing, vocabulary = static_cast<double>(s.vocabulary);
  at::mul_out(c.nll, lse - c.sums.select(0, 1), counts);
  c.loss = c.nll;
  if (smoothing > 0) c.loss = c.nll * (1 - smoothing) + (lse - c.sums.select(0, 2) / vocabulary) * counts * smoothing;
  if (s.z_loss > 0) c.loss = c.loss + lse.square() * counts * s.z_loss;
  if (!s.gradient || s.columns == 0) return;
  at::Tensor factor = sum.reciprocal();
  if (s.z_loss > 0) factor.mul_(1 + 2 * s.z_loss * lse);
  c.logits.mul_(factor.unsqueeze(1));
  if (smoothing > 0) c.logits.sub_(smoothing / vocabulary);
  const auto [column, own] = own_labels(c);
  c.logits.scatter_add_(1, column, own.to(c.logits.scalar_type()).mul_(smoothing - 1)).mul_(counts.unsqueeze(1));
}

/// Fills loss and nll; turns logits into the gradient of the summed loss when it is wanted.
void chunk_loss(Chunk& c, const CrossEntropyState& state) {
  const CrossEntropyOptions& options = state.options;
  const cpu::LossShape shape{c.logits.size(0),        c.logits.size(1), options.vocabulary,
                             options.label_smoothing, options.z_loss,   state.wants_gradients};
  const bool kernel = has_cpu_kernel(c.logits);
  const auto step = [&](const auto& on_cpu, const auto& otherwise) {
    if (!kernel) return otherwise();
    AT_DISPATCH_FLOATING_TYPES(c.logits.scalar_type(), "cross_entropy", [&] { on_cpu(rows_of<scalar_t>(c)); });
  };
  if (kernel && state.group == nullptr) // one pass over each row while it is in the cache
    return step([&](const auto& rows) { cpu::cross_entropy_rows(shape, rows); }, [] {});
  step([&](const auto& rows) { cpu::cross_entropy_maxima(shape, rows); }, [&] { aten_maxima(c); });
  if (state.group != nullptr) state.group->all_reduce(c.maxima, ReduceOp::max).wait();
  step([&](const auto& rows) { cpu::cross_entropy_sums(shape, rows); }, [&] { aten_sums(c); });
  if (state.group != nullptr) state.group->all_reduce(c.sums).wait();
  step([&](const auto& rows) { cpu::cross_entropy_finish(shape, rows); }, [&] { aten_finish(c, shape); });
}

/// Our kernel, where one device holds the whole vocabulary; null: none.
const GpuKernels* kernels_for(const Chunk& c, const CrossEntropyState& state) {
  if (!c.logits.is_cuda() || c.logits.scalar_type() != at::kFloat || state.group != nullptr || c.logits.size(1) == 0)
    return nullptr;
  return gpu_kernels();
}

/// a [n, D] times b^T in the accumulation type.
at::Tensor wide_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType wide) {
  if (b.size(0) == 0) return at::empty({a.size(0), 0}, a.options().dtype(wide));
  if (a.scalar_type() == wide) return at::mm(a, b.t());
  if (a.is_cuda()) return at::mm(a, b.t(), wide);
  return at::mm(a.to(wide), b.t().to(wide));
}

struct ProjectedCrossEntropy : Function<ProjectedCrossEntropy> {
  static variable_list forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& head,
                               const at::Tensor& labels, const at::Tensor& loss_mask, const CrossEntropyState& state) {
    const auto wide = accumulation_type(hidden.scalar_type());
    const std::int64_t tokens = hidden.size(0), width = hidden.size(1);
    const std::int64_t columns = std::clamp<std::int64_t>(state.options.vocabulary - state.first, 0, head.size(0));
    const at::Tensor rows = head.narrow(0, 0, columns), mask = loss_mask.contiguous();
    const at::Tensor ids = state.first == 0 ? labels.contiguous() : labels - state.first;
    const auto wide_options = hidden.options().dtype(wide);
    at::Tensor nll = at::empty({tokens}, wide_options), loss = at::zeros({}, wide_options);
    at::Tensor dhidden, dhead;
    if (state.wants_gradients) {
      dhidden = at::empty_like(hidden);
      dhead = head.size(0) == columns ? at::empty({columns, width}, wide_options)
                                      : at::zeros({head.size(0), width}, wide_options);
    }
    const std::int64_t step = chunk_rows(hidden, head.size(0)); // equal on every rank, as the local heads are
    for (std::int64_t begin = 0; begin < tokens; begin += step) {
      const std::int64_t n = std::min(step, tokens - begin);
      const at::Tensor part = hidden.narrow(0, begin, n);
      Chunk chunk{wide_product(part, rows, wide),
                  ids.narrow(0, begin, n),
                  mask.narrow(0, begin, n),
                  at::empty({n}, wide_options),
                  at::empty({state.options.label_smoothing > 0 ? 3 : 2, n}, wide_options),
                  at::empty({n}, wide_options),
                  nll.narrow(0, begin, n)};
      at::Tensor dlogits;
      if (const GpuKernels* const kernels = kernels_for(chunk, state)) {
        if (state.wants_gradients) dlogits = at::empty(chunk.logits.sizes(), hidden.options());
        kernels->cross_entropy(chunk.logits, chunk.labels, chunk.mask, state.options.label_smoothing,
                               state.options.z_loss, chunk.loss, chunk.nll, dlogits);
      } else {
        chunk_loss(chunk, state);
      }
      loss.add_(chunk.loss.sum());
      if (!state.wants_gradients) continue;
      at::Tensor dpart = dhidden.narrow(0, begin, n), dhead_rows = dhead.narrow(0, 0, columns);
      if (columns == 0) {
        dpart.zero_();
        continue;
      }
      if (!dlogits.defined()) dlogits = chunk.logits.to(hidden.scalar_type());
      at::mm_out(dpart, dlogits, rows);
      const double keep_old = begin == 0 ? 0 : 1;
      if (wide == hidden.scalar_type() || !hidden.is_cuda()) {
        at::addmm_out(dhead_rows, dhead_rows, wide == hidden.scalar_type() ? dlogits.t() : chunk.logits.t(),
                      part.to(wide), keep_old, 1);
      } else {
        at::addmm_out(dhead_rows, dhead_rows, dlogits.t(), part, wide, keep_old, 1);
      }
    }
    if (state.wants_gradients) context->save_for_backward({dhidden, dhead});
    keep(context, state);
    context->mark_non_differentiable({nll});
    return {loss, nll};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const auto& state = kept<CrossEntropyState>(context);
    const at::Tensor &dhead = saved[1], &seed = gradients[0];
    at::Tensor dhidden = saved[0];
    at::mul_out(dhidden, dhidden, seed); // in place: nobody else reads it, and a graph runs backward once
    at::Tensor returned;
    if (state.sink == nullptr) {
      returned = (dhead * seed).to(dhidden.scalar_type());
    } else {
      at::Tensor& total = state.sink->gradient;
      if (state.sink->overwrite()) {
        at::mul_out(total, dhead, seed);
      } else {
        total.addcmul_(dhead, seed);
      }
      state.sink->ready();
    }
    return {dhidden, returned, at::Tensor{}, at::Tensor{}, at::Tensor{}};
  }
};

} // namespace

CrossEntropy projected_loss(const at::Tensor& hidden, const BoundParam& head, std::int64_t first,
                            const at::Tensor& labels, const at::Tensor& loss_mask, const CrossEntropyOptions& options,
                            Group* group) {
  CrossEntropyState state{options, head.sink, group, first};
  if (options.vocabulary == 0) state.options.vocabulary = head.value.size(0);
  state.wants_gradients = at::GradMode::is_enabled() && (hidden.requires_grad() || head.value.requires_grad());
  const variable_list results = ProjectedCrossEntropy::apply(hidden, head.value, labels, loss_mask, state);
  return {results[0], results[1]};
}

CrossEntropy cross_entropy(const at::Tensor& hidden, const BoundParam& head, const at::Tensor& labels,
                           const at::Tensor& loss_mask, const CrossEntropyOptions& options) {
  return projected_loss(hidden, head, 0, labels, loss_mask, options, nullptr);
}

} // namespace conclave::ops
