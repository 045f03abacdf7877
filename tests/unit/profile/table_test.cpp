// Costs by operator, and a table from made-up spans.

#include "profile/table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "profile/cost.hpp"

namespace conclave::profile {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Cost, ProductsByTheirShapes) {
  EXPECT_EQ(flops_of({"aten::mm", {{3, 5}, {5, 7}}, {}}), 2 * 3 * 5 * 7);
  EXPECT_EQ(flops_of({"aten::addmm", {{7}, {3, 5}, {5, 7}}, {}}), 2 * 3 * 5 * 7);
  EXPECT_EQ(flops_of({"aten::bmm", {{2, 3, 5}, {2, 5, 7}}, {}}), 2 * 2 * 3 * 5 * 7);
  EXPECT_EQ(flops_of({"aten::_grouped_mm", {{100, 5}, {4, 5, 7}, {4}}, {}}), 2 * 100 * 5 * 7);
  EXPECT_EQ(flops_of({"aten::_grouped_mm", {{5, 100}, {100, 7}, {4}}, {}}), 2 * 100 * 5 * 7); // of a weight's gradient
  EXPECT_EQ(flops_of({"conclave::grouped_product", {{100, 5}, {4, 7, 5}, {4}, {100, 7}}, {}}), 2 * 100 * 5 * 7);
  EXPECT_EQ(flops_of({"conclave::grouped_weight_gradient", {{100, 5}, {100, 7}, {4}, {4, 5, 7}}, {}}), 2 * 100 * 5 * 7);
  EXPECT_EQ(flops_of({"aten::add", {{3, 5}, {3, 5}}, {}}), 0);
}

TEST(Cost, CausalAttention) {
  // 2 products of [S, D] x [D, S], of each head, of which half is masked.
  const double forward = 2 * 2.0 * 2 * 4 * 16 * 16 * 8 / 2;
  EXPECT_EQ(flops_of({"aten::_scaled_dot_product_cudnn_attention", {{2, 4, 16, 8}}, {}}), forward);
  EXPECT_EQ(flops_of({"aten::_scaled_dot_product_cudnn_attention_backward", {{2, 4, 16, 8}}, {}}), 2.5 * forward);
  EXPECT_EQ(flops_of({"aten::_flash_attention_forward", {{2, 16, 4, 8}}, {}}), forward);
  EXPECT_EQ(flops_of({"conclave::attention", {{2, 16, 4, 8}}, {}}), forward);
  EXPECT_EQ(flops_of({"conclave::attention_backward", {{2, 16, 4, 8}}, {}}), 2.5 * forward);
  EXPECT_EQ(flops_of({"conclave::attention_window", {{2, 16, 4, 8}}, {}}), 0);         // shapes do not tell
  EXPECT_EQ(flops_of({"aten::scaled_dot_product_attention", {{2, 4, 16, 8}}, {}}), 0); // the call inside counts
}

TEST(Cost, BytesOfWhatAKernelWasGiven) {
  EXPECT_EQ(bytes_of({"conclave::x", {{10, 4}, {4}, {}}, {"c10::BFloat16", "float", ""}}), 80 + 16);
  EXPECT_EQ(bytes_of({"aten::copy_", {{10}, {10}}, {"float", "c10::Half"}}), 60);
  EXPECT_EQ(bytes_of({"aten::add", {{10}, {10}}, {"float", "float"}}), 0);
}

Recording two_steps() {
  Recording recording;
  recording.calls = {{"aten::mm", {{1000, 1000}, {1000, 1000}}, {}}, {"conclave::norm", {{500}}, {"float"}}};
  recording.spans = {{"gemm_a", 0, 100, 0},
                     {"gemm_b", 100, 200, 0}, // the same call: its work counts once
                     {"norm", 250, 260, 1},   // 50 us idle before it
                     {"copy", 255, 300, -1}}; // overlaps
  return recording;
}

TEST(Table, SumsByOperatorAndStep) {
  const Table table = summarise(two_steps(), 2);
  ASSERT_EQ(table.rows.size(), 3U);
  EXPECT_EQ(table.rows[0].what, "aten::mm");
  EXPECT_DOUBLE_EQ(table.rows[0].milliseconds, 0.1);
  EXPECT_DOUBLE_EQ(table.rows[0].calls, 0.5);
  EXPECT_DOUBLE_EQ(table.rows[0].flops, 1e9);
  EXPECT_EQ(table.rows[1].what, "copy");
  EXPECT_EQ(table.rows[2].what, "conclave::norm");
  EXPECT_DOUBLE_EQ(table.rows[2].bytes, 1000);
  EXPECT_DOUBLE_EQ(table.busy, (200 + 50) / 2e3);
  EXPECT_DOUBLE_EQ(table.gaps, 50 / 2e3);
  EXPECT_DOUBLE_EQ(table.kernels, 2);
}

TEST(Table, TextNamesRatesAndFoldsWhatIsSmall) {
  const std::string text = render(summarise(two_steps(), 1), {20e12, 1e12}, 0.1);
  EXPECT_THAT(text, HasSubstr("10 TFLOP/s   50 %"));
  EXPECT_THAT(text, HasSubstr("aten::mm"));
  EXPECT_THAT(text, HasSubstr("1 others"));
  EXPECT_THAT(text, Not(HasSubstr("conclave::norm")));
  const auto json = nlohmann::json::parse(to_json(summarise(two_steps(), 1), {20e12, 1e12}));
  EXPECT_EQ(json["rows"].size(), 3U);
  EXPECT_DOUBLE_EQ(json["idle_milliseconds"].get<double>(), 0.05);
}

TEST(Table, NothingRecorded) {
  const Table table = summarise({}, 3);
  EXPECT_TRUE(table.rows.empty());
  EXPECT_EQ(table.busy, 0);
  EXPECT_THAT(render(table, {}), HasSubstr("GPU at work"));
}

} // namespace
} // namespace conclave::profile
