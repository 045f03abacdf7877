// wide_linear: as precise as its accumulation type, whatever the type of its input.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/mm.h>

#include "check_operator.hpp"
#include "conclave/ops/linear.hpp"

namespace conclave::testing {
namespace {

/// Of the largest element.
double relative_error(const at::Tensor& a, const at::Tensor& exact) {
  return (a.detach().to(at::kDouble) - exact).abs().max().item<double>() / exact.abs().max().item<double>();
}

TEST(WideLinear, IsAsPreciseAsItsResult) {
  const at::Tensor x64 = random_tensor({513, 72}, "x"), w64 = random_tensor({16, 72}, "w") * 0.02;
  const at::Tensor seed = random_tensor({513, 16}, "seed");
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor x = x64.to(type).detach().requires_grad_();
    for (const bool sink : {false, true}) {
      GradSink owned;
      BoundParam weight{w64.to(wide).detach().clone().requires_grad_(), sink ? &owned : nullptr};
      owned.gradient = at::full_like(weight.value.detach(), std::nan(""));
      owned.begin_step();
      x.mutable_grad().reset();
      const at::Tensor y = ops::wide_linear(x, weight);
      ASSERT_EQ(y.scalar_type(), wide);
      torch::autograd::backward({y}, {seed.to(wide)});

      // The same numbers in fp64: what is left is the rounding of sums and results.
      const at::Tensor exact_x = x.detach().to(at::kDouble), exact_w = weight.value.detach().to(at::kDouble),
                       exact_seed = seed.to(wide).to(at::kDouble);
      const double sums = wide == at::kDouble ? 1e-14 : 2e-6;
      EXPECT_LE(relative_error(y, at::mm(exact_x, exact_w.t())), sums) << at::toString(type);
      EXPECT_LE(relative_error(sink ? owned.gradient : weight.value.grad(), at::mm(exact_seed.t(), exact_x)), sums)
          << at::toString(type);
      const double rounding = type == at::kBFloat16 ? 0x1p-8 : type == at::kHalf ? 0x1p-11 : sums;
      EXPECT_LE(relative_error(x.grad(), at::mm(exact_seed, exact_w)), rounding) << at::toString(type);
    }
  }
}

// Long sums, against fp64. Tensor cores cut off what does not fit into their fp32 sums, where other sums round it; factors in bf16
// would be wrong by 2^-10.
TEST(WideLinear, LongSumsStayPrecise) {
  const std::int64_t tokens = 4096, width = 2048, columns = 16;
  const at::Tensor x = random_tensor({tokens, width}, "x").to(at::kBFloat16).requires_grad_();
  const at::Tensor seed = random_tensor({tokens, columns}, "seed", at::kFloat);
  GradSink sink;
  BoundParam weight{(random_tensor({columns, width}, "w") * 0.02).to(at::kFloat).requires_grad_(), &sink};
  sink.gradient = at::full_like(weight.value.detach(), std::nan(""));
  sink.begin_step();
  at::Tensor y;
  for (int round = 0; round < 2; ++round) { // the second adds the same to the sink
    y = ops::wide_linear(x, weight);
    torch::autograd::backward({y}, {seed});
  }
  const at::NoGradGuard no_grad;
  const at::Tensor x64 = x.to(at::kDouble), w64 = weight.value.to(at::kDouble), seed64 = seed.to(at::kDouble);
  EXPECT_LE(relative_error(y, at::mm(x64, w64.t())), 0x1p-16);
  EXPECT_LE(relative_error(sink.gradient / 2, at::mm(seed64.t(), x64)), 0x1p-16);
  // The input's gradient is the exact one, rounded, but where that is a close call.
  const at::Tensor exact = at::mm(seed64, w64).to(at::kBFloat16);
  EXPECT_LE((x.grad() / 2).ne(exact).to(at::kDouble).mean().item<double>(), 2e-3);
}

} // namespace
} // namespace conclave::testing
