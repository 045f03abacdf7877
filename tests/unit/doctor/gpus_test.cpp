// Judging GPUs: a good machine, and each fault planted in it.

#include "doctor/gpus.hpp"

#include <gtest/gtest.h>

#include "doctor/devices.hpp"
#include "unit/doctor/lines.hpp"

namespace conclave::doctor {
namespace {

GpuFacts good_gpus(std::size_t gpus = 2) {
  GpuFacts facts;
  facts.driver = true;
  facts.driver_version = "580.65.06";
  facts.driver_cuda = 13000;
  Gpu gpu;
  gpu.name = "NVIDIA A100-SXM4-80GB";
  gpu.memory = 85'899'345'920;
  gpu.memory_free = 85'000'000'000;
  gpu.ecc = true;
  gpu.uncorrected = 0;
  gpu.retirement_pending = gpu.remap_pending = gpu.remap_failed = false;
  gpu.clock = 210;
  gpu.clock_most = 1410;
  gpu.temperature = 30;
  gpu.slowdowns = 0x1 | 0x4; // idle, and at its power limit: nothing is wrong
  gpu.links_on = 12;
  gpu.link_rate = 300e9;
  facts.gpus.assign(gpus, gpu);
  for (std::size_t from = 0; from < gpus; ++from) {
    facts.peers.emplace_back(gpus, true);
    facts.peers.back()[from] = false;
  }
  return facts;
}

Checks judged_gpus(const GpuFacts& facts, const Expectation& expected = {}) {
  return judge_gpus(facts, "13.0", 0, expected);
}

TEST(Gpus, AGoodMachineHasNothingButGoodLines) {
  const Checks checks = judged_gpus(good_gpus(8));
  for (const Check& check : checks) {
    EXPECT_EQ(check.verdict, Verdict::ok) << check.name << ": " << check.figure;
    EXPECT_EQ(check.advice, "") << check.name;
  }
  EXPECT_EQ(line(checks, "GPUs").figure, "8 x NVIDIA A100-SXM4-80GB");
  EXPECT_EQ(line(checks, "driver").figure, "580.65.06, serves CUDA 13.0");
  EXPECT_EQ(line(checks, "GPU memory").figure, "85.9 GB, 85.0 GB free");
  EXPECT_EQ(line(checks, "clocks").figure, "210 MHz of 1410 MHz, not throttled");
  EXPECT_EQ(line(checks, "NVLink").figure, "12 links, 300 GB/s each way");
  EXPECT_EQ(line(checks, "peer access").figure, "between all of 8 GPUs");
}

TEST(Gpus, TheSeedsMachineIsMetExactly) {
  Expectation expected;
  expected.gpus = 8;
  expected.gpu_name = "A100";
  expected.gpu_memory = 80'000'000'000;
  expected.nvlink_GBps = 200;
  for (const Check& check : judged_gpus(good_gpus(8), expected)) EXPECT_EQ(check.verdict, Verdict::ok) << check.name;
  EXPECT_EQ(line(judged_gpus(good_gpus(7), expected), "GPUs").verdict, Verdict::fail);
  GpuFacts facts = good_gpus(8);
  facts.gpus[3].name = "NVIDIA V100";
  facts.gpus[4].memory = 40'000'000'000;
  facts.gpus[5].links_on = 7;
  facts.gpus[5].link_rate = 175e9;
  const Checks checks = judged_gpus(facts, expected);
  EXPECT_EQ(line(checks, "GPU name").figure, "GPU 3: NVIDIA V100");
  EXPECT_EQ(line(checks, "GPU name").verdict, Verdict::fail);
  EXPECT_EQ(line(checks, "GPU memory").verdict, Verdict::fail);
  EXPECT_EQ(line(checks, "NVLink").verdict, Verdict::fail);
  EXPECT_TRUE(line(checks, "NVLink").advice.starts_with("200 GB/s wanted: ")) << line(checks, "NVLink").advice;
  EXPECT_EQ(line(checks, "NVLink health").figure, "GPU 5: 7 of 12 links are up");
}

TEST(Gpus, NoDriver) {
  const GpuFacts none;
  EXPECT_EQ(judged_gpus(none), (Checks{{"GPUs", Verdict::warn, "no NVIDIA driver", "runs take the CPU here"}}));
  Expectation expected;
  expected.gpus = 8;
  EXPECT_EQ(line(judged_gpus(none, expected), "GPUs").verdict, Verdict::fail);
}

TEST(Gpus, ADriverThatDoesNotAnswer) {
  GpuFacts facts = good_gpus();
  facts.error = "GPU 1 of 2 does not answer: GPU is lost";
  const Checks checks = judged_gpus(facts);
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_EQ(checks.front().verdict, Verdict::fail);
  EXPECT_EQ(checks.front().figure, facts.error);
}

TEST(Gpus, ADriverTooOldForCuda) {
  GpuFacts facts = good_gpus();
  facts.driver_cuda = 12080;
  const Check driver = line(judged_gpus(facts), "driver");
  EXPECT_EQ(driver.verdict, Verdict::fail);
  EXPECT_EQ(driver.figure, "580.65.06, serves CUDA 12.8");
  EXPECT_TRUE(driver.advice.starts_with("the program was built for CUDA 13.0: ")) << driver.advice;
  facts.driver_cuda = 14010;
  EXPECT_EQ(line(judged_gpus(facts), "driver").verdict, Verdict::ok);
}

TEST(Gpus, EachFaultOfHealthIsNamedWithItsGpu) {
  const auto one = [](const char* name, Verdict verdict, const std::string& figure, const auto& plant) {
    GpuFacts facts = good_gpus();
    plant(facts.gpus[1]);
    const Check check = line(judged_gpus(facts), name);
    EXPECT_EQ(check.verdict, verdict) << name;
    EXPECT_EQ(check.figure, figure);
    EXPECT_NE(check.advice, "") << name;
  };
  one("ECC", Verdict::warn, "GPU 1: off", [](Gpu& gpu) { gpu.ecc = false; });
  one("memory errors", Verdict::fail, "GPU 1: 3 uncorrected", [](Gpu& gpu) { gpu.uncorrected = 3; });
  one("bad memory", Verdict::fail, "GPU 1: a page waits to be retired",
      [](Gpu& gpu) { gpu.retirement_pending = true; });
  one("bad memory", Verdict::fail, "GPU 1: a row waits to be remapped", [](Gpu& gpu) { gpu.remap_pending = true; });
  one("bad memory", Verdict::fail, "GPU 1: a row could not be remapped", [](Gpu& gpu) { gpu.remap_failed = true; });
  one("clocks", Verdict::warn, "GPU 1: too warm (30 C)", [](Gpu& gpu) { gpu.slowdowns = 0x20; });
  one("clocks", Verdict::fail, "GPU 1: much too warm, slowed down by hardware (30 C)",
      [](Gpu& gpu) { gpu.slowdowns = 0x48; });
  one("clocks", Verdict::fail, "GPU 1: braked by the power supply (30 C)", [](Gpu& gpu) { gpu.slowdowns = 0x80; });
  one("GPU name", Verdict::warn, "GPU 1: Another", [](Gpu& gpu) { gpu.name = "Another"; });
  one("NVLink health", Verdict::fail, "GPU 1: 11 of 12 links are up", [](Gpu& gpu) { gpu.links_on = 11; });
  one("NVLink health", Verdict::fail, "GPU 1: links started again 4 times", [](Gpu& gpu) { gpu.link_errors = 4; });
  one("GPU memory", Verdict::warn, "85.9 GB, 10.0 GB free", [](Gpu& gpu) { gpu.memory_free = 10'000'000'000; });
}

TEST(Gpus, WhatAGpuDoesNotTellIsNoFault) {
  GpuFacts facts;
  facts.driver = true;
  facts.driver_cuda = 13000;
  facts.gpus.resize(1);
  facts.gpus[0].name = "NVIDIA GeForce";
  facts.gpus[0].memory = facts.gpus[0].memory_free = 8'000'000'000;
  for (const Check& check : judged_gpus(facts))
    EXPECT_EQ(check.verdict, Verdict::ok) << check.name << ": " << check.figure;
}

TEST(Gpus, PairsWithoutPeerAccessAreNamed) {
  GpuFacts facts = good_gpus(3);
  facts.peers[0][2] = facts.peers[2][0] = false;
  const Check check = line(judged_gpus(facts), "peer access");
  EXPECT_EQ(check.verdict, Verdict::warn);
  EXPECT_EQ(check.figure, "none for GPUs 0>2, 2>0");
}

TEST(Gpus, MemoryThatAnExperimentNeeds) {
  const auto check = [](std::int64_t needed) {
    return line(judge_gpus(good_gpus(), "13.0", needed, {}), "GPU memory free");
  };
  EXPECT_EQ(check(85'000'000'000).verdict, Verdict::ok);
  EXPECT_EQ(check(85'000'000'001).verdict, Verdict::fail);
}

TEST(Devices, TheSlowestGpuIsNamedAndJudged) {
  DeviceFacts facts;
  facts.copy = {1.5e12, 1.51e12, 0.9e12};
  facts.peer = {240e9, 250e9, 245e9};
  Checks checks = judge_devices(facts, {});
  EXPECT_EQ(line(checks, "GPU copies").verdict, Verdict::warn);
  EXPECT_EQ(line(checks, "GPU copies").figure, "900 GB/s to 1510 GB/s, GPU 2 the slowest");
  EXPECT_EQ(line(checks, "peer copies").verdict, Verdict::ok);
  Expectation expected;
  expected.gpu_copy_GBps = 800;
  expected.peer_GBps = 241;
  checks = judge_devices(facts, expected);
  EXPECT_EQ(line(checks, "GPU copies").verdict, Verdict::ok);
  EXPECT_EQ(line(checks, "peer copies").verdict, Verdict::fail);
  facts.error = unsupported("CUDA does not start: x", "check the driver");
  EXPECT_EQ(judge_devices(facts, {}),
            (Checks{{"GPU copies", Verdict::fail, "CUDA does not start: x", "check the driver"}}));
}

} // namespace
} // namespace conclave::doctor
