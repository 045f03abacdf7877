// Rows by expert against std::stable_sort and exact sums; on a GPU also the kernels by themselves, SwiGLU's among them.

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <optional>

#include "check_operator.hpp"
#include "ops/expert_rows.hpp"
#include "ops/gpu_kernels.hpp"

namespace conclave::testing {
namespace {

/// [tokens, choices] experts, spread without a pattern, or all on the last one.
at::Tensor random_experts(std::int64_t tokens, std::int64_t choices, std::int64_t experts, bool one = false) {
  const at::Tensor chosen = at::empty({tokens, choices}, at::kLong);
  auto* out = chosen.mutable_data_ptr<std::int64_t>();
  const RandomStream stream(5, "experts");
  for (std::int64_t i = 0; i < chosen.numel(); ++i)
    out[i] = one ? experts - 1
                 : static_cast<std::int64_t>(std::abs(stream.normal(static_cast<std::uint64_t>(i))) * 1e6) % experts;
  return chosen.to(test_device());
}

/// Multiples of 1/16 below 8: whole in every type, and so are their sums in fp32.
at::Tensor whole_numbers(at::IntArrayRef shape, const char* name, at::ScalarType type) {
  return random_tensor(shape, name).mul(16).round().div(16).clamp(-7, 7).to(type);
}

// ---- operators ---------------------------------------------------------------------------------------------------------

struct SortCase {
  std::int64_t tokens, choices, experts;
  bool one = false; ///< expert for all
};

class SortByExpert : public ::testing::TestWithParam<SortCase> {};

TEST_P(SortByExpert, IsStable) {
  const auto [tokens, choices, experts, one] = GetParam();
  const at::Tensor chosen = random_experts(tokens, choices, experts, one);
  const ops::ExpertRows rows = ops::sort_by_expert(chosen, experts);

  const at::Tensor host = chosen.cpu();
  const auto* expert = host.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(tokens * choices)), position(order.size()), source;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return expert[a] < expert[b]; });
  std::vector<std::int32_t> ends(static_cast<std::size_t>(experts));
  for (std::size_t r = 0; r < order.size(); ++r) {
    position[static_cast<std::size_t>(order[r])] = static_cast<std::int64_t>(r);
    source.push_back(order[r] / choices);
    ++ends[static_cast<std::size_t>(expert[order[r]])];
  }
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  EXPECT_TRUE(rows.pair.cpu().equal(at::tensor(order, at::kLong)));
  EXPECT_TRUE(rows.source.cpu().equal(at::tensor(source, at::kLong)));
  EXPECT_TRUE(rows.position.cpu().equal(at::tensor(position, at::kLong).view({tokens, choices})));
  EXPECT_TRUE(rows.ends.cpu().equal(at::tensor(ends, at::kInt)));
}

// Around a block of 512 choices, and expert counts that the kernel takes and leaves.
INSTANTIATE_TEST_SUITE_P(Shapes, SortByExpert,
                         ::testing::Values(SortCase{0, 2, 4}, SortCase{1, 1, 1}, SortCase{31, 1, 3},
                                           SortCase{255, 2, 5}, SortCase{256, 2, 5}, SortCase{257, 2, 16},
                                           SortCase{171, 3, 7}, SortCase{5000, 6, 64}, SortCase{1000, 8, 1024},
                                           SortCase{700, 2, 8192}, SortCase{700, 2, 9000}, SortCase{20000, 2, 16},
                                           SortCase{3000, 2, 16, true}));

struct RowsCase {
  std::int64_t tokens, choices, width;
};

class ExpertRows : public ::testing::TestWithParam<RowsCase> {};

TEST_P(ExpertRows, PermuteAndCombineAreExactAndAdjoint) {
  const auto [tokens, choices, width] = GetParam();
  const ops::ExpertRows plan = ops::sort_by_expert(random_experts(tokens, choices, 5), 5);
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor x = whole_numbers({tokens, width}, "x", type).requires_grad_();
    const at::Tensor rows = whole_numbers({tokens * choices, width}, "rows", type).requires_grad_();
    const at::Tensor picked = x.detach().index_select(0, plan.source);
    const at::Tensor sum = rows.detach()
                               .to(at::kDouble)
                               .index_select(0, plan.position.flatten())
                               .view({tokens, choices, width})
                               .sum(at::IntArrayRef{1})
                               .to(type);
    const at::Tensor permuted = ops::permute(x, plan), combined = ops::combine(rows, plan);
    EXPECT_TRUE(permuted.equal(picked)) << type;
    EXPECT_TRUE(combined.equal(sum)) << type;
    permuted.backward(rows.detach());
    combined.backward(x.detach());
    EXPECT_TRUE(x.grad().equal(sum)) << type;
    EXPECT_TRUE(rows.grad().equal(picked)) << type;
  }
}

// Rows of odd bytes, of one 16-byte unit, of fewer and of more than a block has threads.
INSTANTIATE_TEST_SUITE_P(Shapes, ExpertRows,
                         ::testing::Values(RowsCase{7, 2, 6}, RowsCase{1, 1, 8}, RowsCase{301, 1, 40},
                                           RowsCase{301, 2, 264}, RowsCase{33, 3, 2056}, RowsCase{50, 4, 1024},
                                           RowsCase{9, 6, 4104}, RowsCase{129, 8, 16}, RowsCase{65, 9, 72}));

// ---- kernels -----------------------------------------------------------------------------------------------------------

class ExpertKernels : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (!test_device().is_cuda()) GTEST_SKIP() << "SKIPPED: these kernels need a GPU (CONCLAVE_TEST_DEVICE=cuda)";
    if (ops::gpu_kernels() == nullptr) GTEST_SKIP() << "SKIPPED: libconclave_cuda.so is missing";
  }
  /// Not a number, with rows around the ones that a kernel is given.
  at::Tensor poisoned(std::int64_t rows, std::int64_t width, std::optional<at::ScalarType> type = {}) const {
    return at::full({rows + 2, width}, std::nan(""),
                    at::TensorOptions().dtype(type.value_or(GetParam())).device(test_device()));
  }
  static at::Tensor inner(const at::Tensor& x) { return x.narrow(0, 1, x.size(0) - 2); }
  static void expect_untouched_around(const at::Tensor& x) {
    EXPECT_TRUE(x.select(0, 0).isnan().all().item<bool>());
    EXPECT_TRUE(x.select(0, x.size(0) - 1).isnan().all().item<bool>());
  }
  /// Half a unit in the last place of the type, and what fp32 loses on the way to it.
  static void expect_rounded_once(const at::Tensor& x, const at::Tensor& expected, const char* what) {
    const double half_unit = x.scalar_type() == at::kBFloat16 ? 1.0 / 256
                             : x.scalar_type() == at::kHalf   ? 1.0 / 2048
                                                              : 0;
    const at::Tensor off = (x.to(at::kDouble) - expected).abs() - expected.abs() * (half_unit + 4e-6) - 4e-5;
    EXPECT_LE(off.max().item<double>(), 0) << what;
  }
};

TEST_P(ExpertKernels, RowsAreWrittenWholeAndNoOthers) {
  const std::int64_t tokens = 301, width = 264;
  for (const std::int64_t choices : {1, 2, 3, 4, 6, 8, 11}) {
    const std::int64_t pairs = tokens * choices;
    const ops::ExpertRows plan = ops::sort_by_expert(random_experts(tokens, choices, 16), 16);
    const at::Tensor x = whole_numbers({tokens, width}, "x", GetParam()), rows = poisoned(pairs, width);
    ops::gpu_kernels()->gather_rows(x, plan.source, inner(rows));
    EXPECT_TRUE(inner(rows).equal(x.index_select(0, plan.source)));
    expect_untouched_around(rows);

    // Every row of a token's choices is the token's, so the sum is a multiple; with an addend one more.
    const at::Tensor sum = poisoned(tokens, width);
    ops::gpu_kernels()->sum_choices(inner(rows).contiguous(), plan.position, {}, inner(sum));
    EXPECT_TRUE(inner(sum).equal((x.to(at::kDouble) * choices).to(GetParam()))) << choices;
    ops::gpu_kernels()->sum_choices(inner(rows).contiguous(), plan.position, x, inner(sum));
    EXPECT_TRUE(inner(sum).equal((x.to(at::kDouble) * (choices + 1)).to(GetParam()))) << choices << " and an addend";
    expect_untouched_around(sum);
  }
}

TEST_P(ExpertKernels, SwigluIsRoundedOnceForwardAndBackward) {
  for (const std::int64_t width : {8, 40, 264, 1408}) {
    const std::int64_t rows = 77;
    const at::Tensor x = random_tensor({rows, 2 * width}, "x").to(GetParam());
    // Gates whose exponential leaves fp32, both ways.
    x.select(0, 3).narrow(0, 0, width).fill_(-200);
    x.select(0, 4).narrow(0, 0, width).fill_(200);
    const at::Tensor dy = random_tensor({rows, width}, "dy").to(GetParam());
    for (const bool weighted : {true, false}) {
      ops::GpuKernels::RowWeights in;
      at::Tensor weights; // in the order of the rows
      if (weighted) {
        in.weights = random_tensor({rows}, "weights", at::kFloat);
        in.pair = at::randperm(rows, in.weights.options().dtype(at::kLong));
        weights = in.weights.index_select(0, in.pair).unsqueeze(1);
      }
      const at::Tensor gate = x.narrow(1, 0, width).to(at::kDouble), up = x.narrow(1, width, width).to(at::kDouble);
      const at::Tensor s = at::sigmoid(gate), silu = gate * s, d = dy.to(at::kDouble);
      const at::Tensor weight = weighted ? weights.to(at::kDouble) : at::full({rows, 1}, 1.0, gate.options());
      const at::Tensor expected = silu * up * weight, dup = d * weight * silu;
      const at::Tensor dgate = d * weight * up * s * (gate * (1 - s) + 1), terms = d * silu * up;

      const at::Tensor y = poisoned(rows, width);
      ops::gpu_kernels()->swiglu(x, in, inner(y));
      expect_rounded_once(inner(y), expected, "y");
      expect_untouched_around(y);

      const at::Tensor dx = poisoned(rows, 2 * width), again = poisoned(rows, width),
                       dw = poisoned(rows, 1, at::kFloat);
      ops::gpu_kernels()->swiglu_backward(dy, x, in, inner(dx), weighted ? inner(again) : at::Tensor{},
                                          weighted ? inner(dw) : at::Tensor{});
      expect_rounded_once(inner(dx), at::cat({dgate, dup}, 1), "dx");
      expect_untouched_around(dx);
      if (!weighted) continue;
      EXPECT_TRUE(inner(again).equal(inner(y))) << "the backward pass computes another result than the forward pass";
      const at::Tensor by_row = inner(dw).index_select(0, in.pair);
      const at::Tensor off = (by_row - terms.sum(1, true)).abs() - terms.abs().sum(1, true) * 4e-6;
      EXPECT_LE(off.max().item<double>(), 1e-37) << "weights' gradient"; // below that fp32 has no numbers
      for (const at::Tensor& out : {again, dw}) expect_untouched_around(out);
    }
  }
}

TEST_P(ExpertKernels, NoRows) {
  const auto options = at::TensorOptions().dtype(GetParam()).device(test_device());
  const at::Tensor none = at::empty({0, 16}, options), index = at::empty({0}, options.dtype(at::kLong));
  ops::gpu_kernels()->gather_rows(at::zeros({3, 16}, options), index, none);
  ops::gpu_kernels()->sum_choices(none, index.view({0, 2}), {}, none);
  ops::gpu_kernels()->swiglu(none, {}, at::empty({0, 8}, options));
  ops::gpu_kernels()->swiglu_backward(at::empty({0, 8}, options), none, {}, none, {}, {});
}

INSTANTIATE_TEST_SUITE_P(Types, ExpertKernels, ::testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& test) { return std::string(c10::toString(test.param)); });

} // namespace
} // namespace conclave::testing
