// wide_linear: as precise as its accumulation type, whatever the type of its input.

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

} // namespace
} // namespace conclave::testing
