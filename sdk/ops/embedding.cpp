// embedding: a gather forward; a deterministic scatter-sum by rows of the table backward.

#include "conclave/ops/embedding.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/embedding_dense_backward.h>
#include <ATen/ops/zeros.h>

#include "function.hpp"

namespace conclave::ops {
namespace {

struct EmbeddingState {
  GradSink* sink = nullptr;
  std::int64_t rows = 0;
};

/// total[tokens[i]] += dy[i]. Each thread owns a range of the table and visits all tokens in order, so every row is summed
/// in token order by one thread.
void scatter_sum_cpu(const at::Tensor& tokens, const at::Tensor& dy, at::Tensor& total) {
  const std::int64_t count = tokens.numel(), width = dy.size(-1), rows = total.size(0);
  const at::Tensor ids = tokens.contiguous(), values = dy.contiguous();
  const std::int64_t* id = ids.const_data_ptr<std::int64_t>();
  AT_DISPATCH_FLOATING_TYPES(total.scalar_type(), "embedding_backward", [&] {
    const scalar_t* from = values.const_data_ptr<scalar_t>();
    scalar_t* to = total.mutable_data_ptr<scalar_t>();
    const std::int64_t grain = std::max<std::int64_t>(1, (rows + at::get_num_threads() - 1) / at::get_num_threads());
    at::parallel_for(0, rows, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = 0; i < count; ++i) {
        if (id[i] < begin || id[i] >= end) continue;
        scalar_t* row = to + id[i] * width;
        for (std::int64_t j = 0; j < width; ++j) row[j] += from[i * width + j];
      }
    });
  });
}

struct Embedding : Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& tokens, const at::Tensor& table,
                            GradSink* sink) {
    context->save_for_backward({tokens});
    keep(context, EmbeddingState{sink, table.size(0)});
    return at::embedding(table, tokens);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor tokens = context->get_saved_variables()[0];
    const auto& state = kept<EmbeddingState>(context);
    const at::Tensor& dy = gradients[0];
    const auto type = state.sink != nullptr ? state.sink->gradient.scalar_type() : accumulation_type(dy.scalar_type());
    if (dy.is_cpu() && state.sink != nullptr) {
      if (state.sink->overwrite()) state.sink->gradient.zero_();
      scatter_sum_cpu(tokens, dy.to(type), state.sink->gradient);
      state.sink->ready();
      return {at::Tensor{}, at::Tensor{}, at::Tensor{}};
    }
    at::Tensor total;
    if (dy.is_cpu()) {
      total = at::zeros({state.rows, dy.size(-1)}, dy.options().dtype(type));
      scatter_sum_cpu(tokens, dy.to(type), total);
    } else {
      total = at::embedding_dense_backward(dy.to(type), tokens, state.rows, -1, false);
    }
    total = deliver(state.sink, total);
    return {at::Tensor{}, total.defined() ? total.to(dy.scalar_type()) : total, at::Tensor{}};
  }
};

} // namespace

at::Tensor embedding(const at::Tensor& tokens, const BoundParam& table) {
  return Embedding::apply(tokens, table.value, table.sink);
}

} // namespace conclave::ops
