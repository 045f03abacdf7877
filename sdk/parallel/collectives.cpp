// Collectives as autograd functions: each one's backward pass is another of them.

#include "conclave/parallel/collectives.hpp"

#include <ATen/ops/empty.h>

#include <numeric>
#include <stdexcept>
#include <string>

#include "../ops/function.hpp"

namespace conclave::parallel {
namespace {

using ops::AutogradContext;
using ops::Function;
using ops::keep;
using ops::kept;
using ops::variable_list;

bool alone(const Group* group) { return group == nullptr || group->size() == 1; }

at::Tensor with_rows(const at::Tensor& x, std::int64_t rows) {
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.at(0) = rows;
  return at::empty(shape, x.options());
}

std::int64_t rows_per_rank(const at::Tensor& x, const char* call, const Group& group) {
  if (x.size(0) % group.size() != 0) {
    throw std::invalid_argument(std::string(call) + " over " + group.name() + ": " + std::to_string(x.size(0)) +
                                " rows cannot be shared equally by " + std::to_string(group.size()) + " ranks");
  }
  return x.size(0) / group.size();
}

at::Tensor own_part(const at::Tensor& x, const Group& group) {
  const std::int64_t rows = rows_per_rank(x, "own_rows", group);
  return x.narrow(0, group.rank() * rows, rows);
}

at::Tensor gathered(const at::Tensor& x, Group& group) {
  const at::Tensor out = with_rows(x, group.size() * x.size(0));
  group.all_gather(out, x.contiguous()).wait();
  return out;
}

at::Tensor scattered_sum(const at::Tensor& x, Group& group) {
  const at::Tensor out = with_rows(x, rows_per_rank(x, "reduce_scatter_rows", group));
  group.reduce_scatter(out, x.contiguous()).wait();
  return out;
}

struct GatherRows : Function<GatherRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Group* group) {
    keep(context, group);
    return gathered(x, *group);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {scattered_sum(gradients[0], *kept<Group*>(context)), at::Tensor{}};
  }
};

struct GatherRowsReplicated : Function<GatherRowsReplicated> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Group* group) {
    keep(context, group);
    return gathered(x, *group);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {own_part(gradients[0], *kept<Group*>(context)), at::Tensor{}};
  }
};

struct ReduceScatterRows : Function<ReduceScatterRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Group* group) {
    keep(context, group);
    return scattered_sum(x, *group);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return {gathered(gradients[0], *kept<Group*>(context)), at::Tensor{}};
  }
};

struct Exchange {
  std::vector<std::int64_t> output_rows, input_rows;
  Group* group = nullptr;
};

at::Tensor exchanged(const at::Tensor& x, const std::vector<std::int64_t>& output_rows,
                     const std::vector<std::int64_t>& input_rows, Group& group) {
  const at::Tensor out = with_rows(x, std::accumulate(output_rows.begin(), output_rows.end(), std::int64_t{0}));
  group.all_to_all(out, x.contiguous(), output_rows, input_rows).wait();
  return out;
}

struct AllToAllRows : Function<AllToAllRows> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, Exchange exchange) {
    const at::Tensor out = exchanged(x, exchange.output_rows, exchange.input_rows, *exchange.group);
    keep(context, std::move(exchange));
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto& exchange = kept<Exchange>(context);
    return {exchanged(gradients[0], exchange.input_rows, exchange.output_rows, *exchange.group), at::Tensor{}};
  }
};

} // namespace

at::Tensor gather_rows(const at::Tensor& x, Group* group) { return alone(group) ? x : GatherRows::apply(x, group); }

at::Tensor gather_rows_replicated(const at::Tensor& x, Group* group) {
  return alone(group) ? x : GatherRowsReplicated::apply(x, group);
}

at::Tensor reduce_scatter_rows(const at::Tensor& x, Group* group) {
  return alone(group) ? x : ReduceScatterRows::apply(x, group);
}

at::Tensor own_rows(const at::Tensor& x, Group* group) { return alone(group) ? x : own_part(x, *group); }

at::Tensor gather_columns(const at::Tensor& x, Group* group) {
  if (alone(group)) return x;
  // As rows [n, ..., C/n], then the ranks' axis before the columns. The transpositions are autograd's.
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape.back() *= group->size();
  return gather_rows(x.unsqueeze(0), group).movedim(0, -2).reshape(shape);
}

at::Tensor all_to_all_rows(const at::Tensor& x, std::vector<std::int64_t> output_rows,
                           std::vector<std::int64_t> input_rows, Group* group) {
  if (alone(group)) return x;
  return AllToAllRows::apply(x, Exchange{std::move(output_rows), std::move(input_rows), group});
}

} // namespace conclave::parallel
