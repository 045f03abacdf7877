// Grouped products on a GPU against one product for each group in fp64.

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "check_operator.hpp"
#include "ops/gpu_kernels.hpp"

namespace conclave::testing {
namespace {

struct Case {
  at::ScalarType type;
  std::vector<std::int64_t> counts; ///< rows of each group
  std::int64_t inner, columns;

  friend void PrintTo(const Case& c, std::ostream* out) {
    *out << c.type << ", " << c.counts.size() << " groups, " << c.inner << " x " << c.columns;
  }
};

class GroupedProduct : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!test_device().is_cuda()) GTEST_SKIP() << "SKIPPED: these kernels need a GPU (CONCLAVE_TEST_DEVICE=cuda)";
    if (ops::gpu_kernels() == nullptr || !ops::gpu_kernels()->has_grouped())
      GTEST_SKIP() << "SKIPPED: libconclave_cuda.so is missing, or was built without CUTLASS";
    std::vector<std::int32_t> end;
    for (const std::int64_t count : GetParam().counts)
      end.push_back((end.empty() ? 0 : end.back()) + static_cast<std::int32_t>(count));
    rows = end.back();
    ends = at::tensor(end, at::kInt).to(test_device());
  }
  at::Tensor random(at::IntArrayRef shape, const char* name) const {
    return random_tensor(shape, name).to(GetParam().type);
  }
  at::Tensor of_group(const at::Tensor& x, std::size_t group) const {
    std::int64_t begin = 0;
    for (std::size_t g = 0; g < group; ++g) begin += GetParam().counts[g];
    return x.narrow(0, begin, GetParam().counts[group]).to(at::kDouble);
  }
  /// fp32 sums of exact products, rounded once.
  double tolerance() const { return GetParam().type == at::kHalf ? 6e-4 : 5e-3; }

  std::int64_t rows = 0;
  at::Tensor ends;
};

TEST_P(GroupedProduct, EqualsProductsByGroup) {
  const Case& c = GetParam();
  const auto groups = static_cast<std::int64_t>(c.counts.size());
  const at::Tensor x = random({rows, c.inner}, "x");
  for (const bool transposed : {true, false}) {
    const at::Tensor weight =
        transposed ? random({groups, c.columns, c.inner}, "w") : random({groups, c.inner, c.columns}, "w");
    const at::Tensor y = at::full({rows + 3, c.columns}, std::nan(""), x.options());
    ops::gpu_kernels()->grouped_product(x, weight, ends, transposed, y.narrow(0, 0, rows));
    std::vector<at::Tensor> expected;
    for (std::size_t g = 0; g < c.counts.size(); ++g) {
      const at::Tensor w = weight.select(0, static_cast<std::int64_t>(g)).to(at::kDouble);
      expected.push_back(at::mm(of_group(x, g), transposed ? w.t() : w));
    }
    EXPECT_LE(distance(y.narrow(0, 0, rows), at::cat(expected)), tolerance()) << "transposed " << transposed;
    EXPECT_TRUE(y.narrow(0, rows, 3).isnan().all().item<bool>()) << "rows beyond the last group were written";
  }
}

TEST_P(GroupedProduct, WeightGradientsAddUpInFp32) {
  const Case& c = GetParam();
  const auto groups = static_cast<std::int64_t>(c.counts.size());
  const at::Tensor left = random({rows, c.inner}, "left"), right = random({rows, c.columns}, "right");
  const at::Tensor out = at::full({groups, c.inner, c.columns}, std::nan(""), left.options().dtype(at::kFloat));
  std::vector<at::Tensor> expected;
  for (std::size_t g = 0; g < c.counts.size(); ++g)
    expected.push_back(at::mm(of_group(left, g).t(), of_group(right, g)).unsqueeze(0));
  const at::Tensor sum = at::cat(expected);
  ops::gpu_kernels()->grouped_weight_gradient(left, right, ends, out, false);
  EXPECT_LE(distance(out, sum), 2e-6) << "written";
  ops::gpu_kernels()->grouped_weight_gradient(left, right, ends, out, true);
  EXPECT_LE(distance(out, 2 * sum), 2e-6) << "added";
}

INSTANTIATE_TEST_SUITE_P(Shapes, GroupedProduct,
                         ::testing::Values(Case{at::kBFloat16, {3}, 8, 8}, Case{at::kHalf, {3}, 8, 8},
                                           Case{at::kBFloat16, {0, 5, 0, 0, 300, 1, 129, 0}, 64, 136},
                                           Case{at::kHalf, {0, 5, 0, 0, 300, 1, 129, 0}, 64, 136},
                                           Case{at::kBFloat16, {700, 2, 0, 257}, 520, 264},
                                           Case{at::kHalf, {700, 2, 0, 257}, 520, 264}));

} // namespace
} // namespace conclave::testing
