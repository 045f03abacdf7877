// cross_entropy: the output projection and its loss, a chunk of tokens at a time.

#include "conclave/ops/cross_entropy.hpp"

#include <ATen/Dispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "cpu_kernels.hpp"
#include "function.hpp"

namespace conclave::ops {
namespace {

struct CrossEntropyState {
  CrossEntropyOptions options;
  GradSink* sink = nullptr;
  bool wants_gradients = false;
};

/// Elements of a chunk's logits: small enough for the CPU's last cache level, large enough to fill a GPU.
std::int64_t chunk_rows(const at::Tensor& hidden, std::int64_t vocabulary) {
  const std::int64_t elements = hidden.is_cpu() ? std::int64_t{1} << 21 : std::int64_t{1} << 27;
  return std::clamp<std::int64_t>(elements / vocabulary, 16, 8192);
}

struct ChunkResult {
  at::Tensor loss; ///< [n], 0 where masked
  at::Tensor nll;  ///< [n], 0 where masked
};

/// Turns logits [n, V] (accumulation type) into the gradient of the summed loss, in place when `gradient`.
ChunkResult chunk_loss(at::Tensor& logits, const at::Tensor& labels, const at::Tensor& mask,
                       const CrossEntropyOptions& options, bool gradient) {
  if (has_cpu_kernel(logits)) {
    ChunkResult result{at::empty({logits.size(0)}, logits.options()), at::empty({logits.size(0)}, logits.options())};
    const cpu::LossShape shape{logits.size(0), logits.size(1), options.label_smoothing, options.z_loss, gradient};
    AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "cross_entropy", [&] {
      cpu::cross_entropy_rows(shape, logits.mutable_data_ptr<scalar_t>(), labels.const_data_ptr<std::int64_t>(),
                              mask.const_data_ptr<bool>(), result.loss.mutable_data_ptr<scalar_t>(),
                              result.nll.mutable_data_ptr<scalar_t>());
    });
    return result;
  }
  const at::Tensor counts = mask.to(logits.scalar_type());
  const double smoothing = options.label_smoothing, vocabulary = static_cast<double>(logits.size(1));
  const at::Tensor lse = at::logsumexp(logits, 1), index = labels.unsqueeze(1);
  ChunkResult result;
  result.nll = (lse - logits.gather(1, index).squeeze(1)) * counts;
  result.loss = result.nll;
  if (smoothing > 0) result.loss = result.nll * (1 - smoothing) + (lse - logits.mean(1)) * counts * smoothing;
  if (options.z_loss > 0) result.loss = result.loss + lse.square() * counts * options.z_loss;
  if (gradient) {
    logits.sub_(lse.unsqueeze(1)).exp_();
    if (options.z_loss > 0) logits.mul_((1 + 2 * options.z_loss * lse).unsqueeze(1));
    if (smoothing > 0) logits.sub_(smoothing / vocabulary);
    const at::Tensor target = at::empty_like(index, logits.options()).fill_(smoothing - 1);
    logits.scatter_add_(1, index, target).mul_(counts.unsqueeze(1));
  }
  return result;
}

/// a [n, D] times b^T in the accumulation type.
at::Tensor wide_product(const at::Tensor& a, const at::Tensor& b, at::ScalarType wide) {
  if (a.scalar_type() == wide) return at::mm(a, b.t());
  if (a.is_cuda()) return at::mm(a, b.t(), wide);
  return at::mm(a.to(wide), b.t().to(wide));
}

struct ProjectedCrossEntropy : Function<ProjectedCrossEntropy> {
  static variable_list forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& head,
                               const at::Tensor& labels, const at::Tensor& loss_mask, const CrossEntropyState& state) {
    const auto wide = accumulation_type(hidden.scalar_type());
    const std::int64_t tokens = hidden.size(0), width = hidden.size(1);
    const std::int64_t vocabulary = state.options.vocabulary > 0 ? state.options.vocabulary : head.size(0);
    const at::Tensor rows = head.narrow(0, 0, vocabulary), ids = labels.contiguous(), mask = loss_mask.contiguous();
    const auto wide_options = hidden.options().dtype(wide);
    at::Tensor nll = at::empty({tokens}, wide_options), loss = at::zeros({}, wide_options);
    at::Tensor dhidden, dhead;
    if (state.wants_gradients) {
      dhidden = at::empty_like(hidden);
      dhead = head.size(0) == vocabulary ? at::empty({vocabulary, width}, wide_options)
                                         : at::zeros({head.size(0), width}, wide_options);
    }
    const std::int64_t step = chunk_rows(hidden, vocabulary);
    for (std::int64_t begin = 0; begin < tokens; begin += step) {
      const std::int64_t n = std::min(step, tokens - begin);
      const at::Tensor chunk = hidden.narrow(0, begin, n);
      at::Tensor logits = wide_product(chunk, rows, wide);
      const ChunkResult result =
          chunk_loss(logits, ids.narrow(0, begin, n), mask.narrow(0, begin, n), state.options, state.wants_gradients);
      nll.narrow(0, begin, n).copy_(result.nll);
      loss.add_(result.loss.sum());
      if (!state.wants_gradients) continue;
      const at::Tensor dlogits = logits.to(hidden.scalar_type());
      at::Tensor dchunk = dhidden.narrow(0, begin, n), dhead_rows = dhead.narrow(0, 0, vocabulary);
      at::mm_out(dchunk, dlogits, rows);
      const double keep_old = begin == 0 ? 0 : 1;
      if (wide == hidden.scalar_type() || !hidden.is_cuda()) {
        at::addmm_out(dhead_rows, dhead_rows, logits.t(), chunk.to(wide), keep_old, 1);
      } else {
        at::addmm_out(dhead_rows, dhead_rows, dlogits.t(), chunk, wide, keep_old, 1);
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

CrossEntropy cross_entropy(const at::Tensor& hidden, const BoundParam& head, const at::Tensor& labels,
                           const at::Tensor& loss_mask, const CrossEntropyOptions& options) {
  const CrossEntropyState state{options, head.sink,
                                at::GradMode::is_enabled() && (hidden.requires_grad() || head.value.requires_grad())};
  const variable_list results = ProjectedCrossEntropy::apply(hidden, head.value, labels, loss_mask, state);
  return {results[0], results[1]};
}

} // namespace conclave::ops
