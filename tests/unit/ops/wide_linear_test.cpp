// wide_linear: as precise as its accumulation type, whatever the type of its input.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/mm.h>

#include "check_operator.hpp"
#include "conclave/ops/linear.hpp"

namespace conclave::testing {
namespace {

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
      const auto error = [](const at::Tensor& a, const at::Tensor& b) {
        return (a.detach().to(at::kDouble) - b).abs().max().item<double>() / b.abs().max().item<double>();
      };
      EXPECT_LE(error(y, at::mm(exact_x, exact_w.t())), sums) << at::toString(type);
      EXPECT_LE(error(sink ? owned.gradient : weight.value.grad(), at::mm(exact_seed.t(), exact_x)), sums)
          << at::toString(type);
      const double rounding = type == at::kBFloat16 ? 0x1p-8 : type == at::kHalf ? 0x1p-11 : sums;
      EXPECT_LE(error(x.grad(), at::mm(exact_seed, exact_w)), rounding) << at::toString(type);
    }
  }
}

double largest_error(const at::Tensor& a, const at::Tensor& exact) {
  return (a.detach().to(at::kDouble) - exact).abs().max().item<double>();
}

// Not as precise as bf16, and not a little less than fp32: against products of the same numbers in both fp32 and fp64.
TEST(WideLinear, IsAsPreciseAsProductsInFp32) {
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
  const at::Tensor x32 = x.to(at::kFloat), x64 = x.to(at::kDouble), w32 = weight.value, w64 = w32.to(at::kDouble);
  const at::Tensor seed64 = seed.to(at::kDouble), exact_y = at::mm(x64, w64.t()), exact_dw = at::mm(seed64.t(), x64);
  EXPECT_LE(largest_error(y, exact_y), 2 * largest_error(at::mm(x32, w32.t()), exact_y));
  EXPECT_LE(largest_error(sink.gradient / 2, exact_dw), 2 * largest_error(at::mm(seed.t(), x32), exact_dw));

  // The input's gradient is the exact one, rounded: fp32's error before that shows where a rounding is a close call.
  const at::Tensor exact_dx = at::mm(seed64, w64).to(at::kBFloat16);
  const auto differs = [&](const at::Tensor& dx) { return dx.ne(exact_dx).to(at::kDouble).mean().item<double>(); };
  EXPECT_LE(differs(x.grad() / 2), 2 * differs(at::mm(seed, w32).to(at::kBFloat16)));
}

} // namespace
} // namespace conclave::testing
