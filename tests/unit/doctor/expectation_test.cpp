// What a machine must have, from YAML: a good file, and everything that can be wrong with one.

#include "doctor/expectation.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "conclave/testkit.hpp"

namespace conclave::doctor {
namespace {

struct Read {
  std::optional<Expectation> expectation;
  std::string said;
};

Read read(const std::string& text) {
  const testkit::TemporaryDir temporary;
  const std::string path = temporary.write("expect.yaml", text).string();
  Diagnostics diagnostics;
  Read result{read_expectation(path, diagnostics), diagnostics.render()};
  const std::size_t at = result.said.find(path);
  if (at != std::string::npos) result.said.replace(at, path.size(), "F");
  return result;
}

TEST(Expectation, EveryKey) {
  const auto [expectation, said] = read(
      "gpus: 8\ngpu_name: A100\ngpu_memory: 80GB\ngpu_copy_GBps: 1400\nnvlink_GBps: 200\npeer_GBps: 200\n"
      "all_reduce_GBps: 180.5\nstorage_free: 2TB\nstorage_write_MBps: 1000\nstorage_read_MBps: 2000\n"
      "shared_memory: 16GiB\nmemory: 900GB\ncpus: 96\nnofile: 64k\nclock_skew: 100ms\n");
  ASSERT_TRUE(expectation) << said;
  EXPECT_EQ(expectation->gpus, 8);
  EXPECT_EQ(expectation->gpu_name, "A100");
  EXPECT_EQ(expectation->gpu_memory->value, 80'000'000'000);
  EXPECT_EQ(expectation->all_reduce_GBps, 180.5);
  EXPECT_EQ(expectation->storage_free->value, 2'000'000'000'000);
  EXPECT_EQ(expectation->shared_memory->value, std::int64_t{16} << 30);
  EXPECT_EQ(expectation->nofile->value, 64'000);
  EXPECT_EQ(expectation->clock_skew->value, 0.1);
}

TEST(Expectation, WhatIsNotSaidIsNotWanted) {
  const auto [expectation, said] = read("gpus: 1\n");
  ASSERT_TRUE(expectation) << said;
  EXPECT_FALSE(expectation->gpu_name || expectation->storage_free || expectation->nofile || expectation->clock_skew);
}

TEST(Expectation, MistakesAreLocatedAndToldAllAtOnce) {
  const auto [expectation, said] =
      read("gpus: 8\ngpu_memroy: 80GB\nstorage_free: 2 Tb/s\nnvlink_GBps: 200GB/s\ncpus: -1\n");
  EXPECT_FALSE(expectation);
  EXPECT_NE(said.find("F:2:1: gpu_memroy: "), std::string::npos) << said;
  EXPECT_NE(said.find("gpu_memory"), std::string::npos) << said; // did you mean
  EXPECT_NE(said.find(":3:15: storage_free: "), std::string::npos) << said;
  EXPECT_NE(said.find(":4:14: nvlink_GBps: "), std::string::npos) << said;
  EXPECT_NE(said.find(":5:7: cpus: "), std::string::npos) << said;
}

TEST(Expectation, WhatIsNoMapOfKeys) {
  EXPECT_FALSE(read("- gpus: 8\n").expectation);
  EXPECT_FALSE(read("gpus: [8\n").expectation);
  EXPECT_FALSE(read("gpus: 8\ngpus: 9\n").expectation);
  Diagnostics diagnostics;
  EXPECT_FALSE(read_expectation("/no/such.yaml", diagnostics));
  EXPECT_NE(diagnostics.render().find("/no/such.yaml"), std::string::npos);
}

} // namespace
} // namespace conclave::doctor
