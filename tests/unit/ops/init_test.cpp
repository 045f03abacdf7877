// fill_parameter: values are a pure function of (seed, global name, index), whatever the local layout.

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "check_operator.hpp"
#include "conclave/init.hpp"
#include "conclave/random.hpp"

namespace conclave {
namespace {

ParamSpec whole(const std::string& name, std::vector<std::int64_t> shape, InitSpec init) {
  ParamSpec spec;
  spec.name = name;
  spec.shape = shape;
  const std::vector<std::int64_t> zeros(shape.size(), 0);
  spec.pieces = {{name, shape, {zeros, shape}, {zeros, shape}}};
  spec.init = init;
  return spec;
}

TEST(FillParameter, DrawsFromTheStreamOfTheGlobalName) {
  const at::Tensor out = at::empty({5, 3}, at::kDouble);
  ASSERT_TRUE(fill_parameter(whole("w", {5, 3}, {InitKind::normal, 0.5}), 11, out).ok());
  const RandomStream stream(11, "w");
  for (std::int64_t i = 0; i < 15; ++i) {
    EXPECT_EQ(out.data_ptr<double>()[i], 0.5 * stream.normal(static_cast<std::uint64_t>(i)));
  }
}

TEST(FillParameter, FusedAndShardedPiecesEqualTheWholeOnes) {
  const at::Tensor gate = at::empty({4, 6}, at::kFloat), up = at::empty({4, 6}, at::kFloat);
  ASSERT_TRUE(fill_parameter(whole("gate", {4, 6}, {}), 3, gate).ok());
  ASSERT_TRUE(fill_parameter(whole("up", {4, 6}, {}), 3, up).ok());
  ParamSpec fused; // rows 1..2, columns 2..5 of both, stacked, and a row of padding
  fused.name = "gate_up";
  fused.shape = {1, 5, 4};
  fused.pieces = {{"gate", {4, 6}, {{1, 2}, {2, 4}}, {{0, 0, 0}, {1, 2, 4}}},
                  {"up", {4, 6}, {{1, 2}, {2, 4}}, {{0, 2, 0}, {1, 2, 4}}}};
  const at::Tensor out = at::empty({1, 5, 4}, at::kFloat);
  ASSERT_TRUE(fill_parameter(fused, 3, out).ok());
  EXPECT_TRUE(out[0].narrow(0, 0, 2).equal(gate.narrow(0, 1, 2).narrow(1, 2, 4)));
  EXPECT_TRUE(out[0].narrow(0, 2, 2).equal(up.narrow(0, 1, 2).narrow(1, 2, 4)));
  EXPECT_EQ(out[0][4].abs().sum().item<float>(), 0);
}

// A logarithm and a sine of another library: the last of 53 bits may differ, and so, rarely, how a number is rounded.
TEST(FillParameter, EveryDeviceDrawsTheSameNumbers) {
  ParamSpec fused;
  fused.name = "gate_up";
  fused.shape = {1, 5, 4};
  fused.pieces = {{"gate", {4, 6}, {{1, 2}, {2, 4}}, {{0, 0, 0}, {1, 2, 4}}},
                  {"up", {4, 6}, {{1, 2}, {2, 4}}, {{0, 2, 0}, {1, 2, 4}}}};
  for (const ParamSpec& spec : {whole("w", {300, 1000}, {InitKind::normal, 0.02}), fused}) {
    const at::Tensor expected = at::empty(spec.shape, at::kDouble);
    ASSERT_TRUE(fill_parameter(spec, 5, expected).ok());
    for (const auto& [type, tolerance] : std::vector<std::pair<at::ScalarType, double>>{
             {at::kDouble, 1e-15}, {at::kFloat, 6e-8}, {at::kBFloat16, 4e-3}, {at::kHalf, 1e-3}}) {
      const at::Tensor out =
          at::full(spec.shape, std::nan(""), at::TensorOptions().dtype(type).device(testing::test_device()));
      ASSERT_TRUE(fill_parameter(spec, 5, out).ok());
      const at::Tensor away = (out.cpu().to(at::kDouble) - expected).abs() - expected.abs() * tolerance;
      // fp16's numbers near 0 stand 6e-8 apart.
      EXPECT_LE(away.max().item<double>(), type == at::kHalf ? 3e-8 : 1e-12) << at::toString(type);
    }
  }
}

TEST(FillParameter, ConstantZerosAndAnotherSeed) {
  const at::Tensor out = at::empty({7}, at::kFloat);
  ASSERT_TRUE(fill_parameter(whole("n", {7}, {InitKind::constant, 1}), 1, out).ok());
  EXPECT_EQ(out.sum().item<float>(), 7);
  ASSERT_TRUE(fill_parameter(whole("n", {7}, {InitKind::zeros, 1}), 1, out).ok());
  EXPECT_EQ(out.abs().sum().item<float>(), 0);
  const at::Tensor other = at::empty({7}, at::kFloat);
  ASSERT_TRUE(fill_parameter(whole("n", {7}, {}), 1, out).ok());
  ASSERT_TRUE(fill_parameter(whole("n", {7}, {}), 2, other).ok());
  EXPECT_FALSE(out.equal(other));
}

TEST(FillParameter, RefusesBoxesThatDoNotFit) {
  ParamSpec spec = whole("w", {2, 2}, {});
  spec.pieces[0].global.offset = {1, 0};
  const Status status = fill_parameter(spec, 1, at::empty({2, 2}));
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().what.find("piece w"), std::string::npos);
  EXPECT_FALSE(fill_parameter(whole("w", {2, 2}, {}), 1, at::empty({4})).ok());
}

} // namespace
} // namespace conclave
