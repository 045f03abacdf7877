// Machine files: what they say, and every way to get one wrong.

#include "plan/machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "conclave/testkit.hpp"
#include "plan/calibrate.hpp"

namespace conclave::plan {
namespace {

constexpr const char* good = R"(name: two nodes
gpu_memory: 80GB
gpus_per_node: 8
memory_bandwidth: 2.0 TB/s
kernel: 4 us
host_operator: 20us
host_wait: 1.5 ms
within_node: {bandwidth: 200 GB/s, latency: 5 us}
bf16:
  peak: 312 TFLOP/s
  product: {1 GFLOP: 100 TFLOP/s, 100 GFLOP: 200 TFLOP/s}
  attention: 180 TFLOP/s
  attention_backward: 0.16 PFLOP/s
)";

class MachineFile : public ::testing::Test {
 protected:
  std::optional<Machine> read(const std::string& text) {
    const std::filesystem::path path = folder_.path() / "m.yaml";
    std::ofstream(path) << text;
    diagnostics_ = {};
    return read_machine(path.string(), diagnostics_);
  }

  /// What is said of the file with `from` replaced by `to`, without the folder.
  std::string refusal(const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    EXPECT_FALSE(read(text)) << to;
    const std::string said = diagnostics_.render();
    return said.substr(std::min(said.size(), said.find("m.yaml")));
  }

  testkit::TemporaryDir folder_;
  Diagnostics diagnostics_;
};

TEST_F(MachineFile, IsReadInItsUnits) {
  const auto machine = read(good);
  ASSERT_TRUE(machine) << diagnostics_.render();
  EXPECT_EQ(machine->gpu_memory, 80'000'000'000);
  EXPECT_DOUBLE_EQ(machine->memory_bandwidth.value, 2e12);
  EXPECT_DOUBLE_EQ(machine->host_operator.seconds, 20e-6);
  EXPECT_DOUBLE_EQ(machine->host_wait.seconds, 1.5e-3);
  EXPECT_DOUBLE_EQ(machine->within_node.bandwidth.value, 2e11);
  EXPECT_DOUBLE_EQ(machine->bf16.attention_backward.seconds(1.6e14), 1);
  EXPECT_TRUE(machine->rates(Compute::bf16).known());
  EXPECT_FALSE(machine->rates(Compute::fp16).known());
  EXPECT_FALSE(machine->rates(Compute::fp64).known());
  EXPECT_EQ(machine->bf16.grouped_product.points(), machine->bf16.product.points()) << "where it is not said";
}

TEST_F(MachineFile, WrongUnitsAreNamedWithTheirPlace) {
  EXPECT_EQ(
      refusal("2.0 TB/s", "2.0 TFLOP/s"),
      "m.yaml:4:19: memory_bandwidth: '2.0 TFLOP/s' has the unknown unit 'TFLOP/s': write a number and one of MB/s, "
      "GB/s, TB/s, as in 2.0 TB/s\n");
  EXPECT_EQ(refusal("2.0 TB/s", "2000"),
            "m.yaml:4:19: memory_bandwidth: '2000' has no unit: write a number and one of MB/s, GB/s, TB/s, as in 2.0 "
            "TB/s\n");
  EXPECT_EQ(
      refusal("5 us", "fast"),
      "m.yaml:8:45: within_node.latency: 'fast' does not begin with a number: write a number and one of ns, us, ms, "
      "s, as in 4 us\n");
  EXPECT_EQ(refusal("312 TFLOP/s", "312 TFLOPS"),
            "m.yaml:10:9: bf16.peak: '312 TFLOPS' has the unknown unit 'TFLOPS': write a number and one of GFLOP/s, "
            "TFLOP/s, PFLOP/s, as in 312 TFLOP/s\n");
  EXPECT_EQ(refusal("4 us", "-4 us"),
            "m.yaml:5:9: kernel: '-4 us' is no value above 0: write a number and one of ns, us, ms, s, as in 4 us\n");
  EXPECT_THAT(refusal("180 TFLOP/s", "inf TFLOP/s"), ::testing::HasSubstr("is no value above 0"));
  EXPECT_THAT(refusal("180 TFLOP/s", "1e999 TFLOP/s"), ::testing::HasSubstr("m.yaml:12:14: bf16.attention"));
  EXPECT_THAT(refusal("180 TFLOP/s", "[1]"), ::testing::HasSubstr("bf16.attention: expected a map"));
}

TEST_F(MachineFile, CurvesAscendAndHaveSizes) {
  EXPECT_THAT(refusal("1 GFLOP: 100", "1 GB: 100"),
              ::testing::HasSubstr("m.yaml:11:13: bf16.product: '1 GB' has the unknown unit 'GB'"));
  EXPECT_THAT(refusal("100 GFLOP: 200", "1 GFLOP/s: 200"), ::testing::HasSubstr("unknown unit 'GFLOP/s'"));
  EXPECT_THAT(refusal("100 GFLOP:", "500 MFLOP:"), ::testing::HasSubstr("'500 MFLOP' is not above the size before it"));
  EXPECT_THAT(refusal("{1 GFLOP: 100 TFLOP/s, 100 GFLOP: 200 TFLOP/s}", "{}"),
              ::testing::HasSubstr("a curve without a point"));
}

TEST_F(MachineFile, LacksNothingThatPlansNeed) {
  EXPECT_THAT(refusal("kernel: 4 us\n", ""), ::testing::HasSubstr("kernel"));
  EXPECT_THAT(refusal("within_node: {bandwidth: 200 GB/s, latency: 5 us}\n", ""),
              ::testing::HasSubstr("a node has 8 GPUs"));
  EXPECT_THAT(refusal("kernel: 4 us", "kernels: 4 us"), ::testing::HasSubstr("kernel"));
  EXPECT_THAT(refusal("gpus_per_node: 8", "gpus_per_node: 0"), ::testing::HasSubstr("m.yaml:3:16: gpus_per_node"));
  const std::string text = good;
  EXPECT_FALSE(read(text.substr(0, text.find("bf16:"))));
  EXPECT_THAT(diagnostics_.render(), ::testing::HasSubstr("no compute type has rates"));
  EXPECT_FALSE(read_machine("/nowhere/m.yaml", diagnostics_));
}

TEST_F(MachineFile, WhatCalibrationWritesIsRead) {
  Machine machine = *read(good);
  machine.between_nodes = {{2.2e10}, {1e-5}};
  const auto again = read(machine_text(machine));
  ASSERT_TRUE(again) << diagnostics_.render();
  EXPECT_EQ(again->name, machine.name);
  EXPECT_EQ(again->gpu_memory, machine.gpu_memory);
  EXPECT_EQ(again->gpus_per_node, machine.gpus_per_node);
  EXPECT_DOUBLE_EQ(again->host_wait.seconds, machine.host_wait.seconds);
  EXPECT_DOUBLE_EQ(again->between_nodes.bandwidth.value, 2.2e10);
  EXPECT_EQ(again->bf16.product.points(), machine.bf16.product.points());
  EXPECT_DOUBLE_EQ(again->bf16.attention_backward.seconds(1e12), machine.bf16.attention_backward.seconds(1e12));
  EXPECT_FALSE(again->fp16.known());
}

TEST_F(MachineFile, ThoseOfTheTreeAreRead) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CONCLAVE_MACHINES)) {
    ++files;
    EXPECT_TRUE(read_machine(entry.path().string(), diagnostics_)) << diagnostics_.render();
  }
  EXPECT_GE(files, 3);
}

TEST(RateCurve, IsLinearInTheLogarithmAndBoundedOutside) {
  const RateCurve curve({{1e9, 1e14}, {1e11, 2e14}});
  EXPECT_DOUBLE_EQ(curve.seconds(1e9), 1e-5);
  EXPECT_DOUBLE_EQ(curve.seconds(1e10), 1e10 / 1.5e14);
  EXPECT_DOUBLE_EQ(curve.seconds(1e11), 1e11 / 2e14);
  EXPECT_DOUBLE_EQ(curve.seconds(1e13), 1e13 / 2e14);
  EXPECT_DOUBLE_EQ(curve.seconds(10), 1e-5); // no faster than the smallest
}

TEST(Quantities, AreWrittenAsTheyAreRead) {
  EXPECT_EQ(text(FlopRate{3.12e14}), "312 TFLOP/s");
  EXPECT_EQ(text(ByteRate{2.039e12}), "2.039 TB/s");
  EXPECT_EQ(text(Latency{4e-6}), "4 us");
  EXPECT_EQ(text(RateCurve({{1e9, 1e14}, {1e11, 2e15}})), "{1 GFLOP: 100 TFLOP/s, 100 GFLOP: 2 PFLOP/s}");
}

} // namespace
} // namespace conclave::plan
