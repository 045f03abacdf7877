// Reading GPUs through a management library that says what the test wants.

#include "doctor/nvml.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace conclave::doctor {
namespace {

struct Fault {
  explicit Fault(const char* name) { setenv("FAKE_NVML_FAULT", name, 1); }
  ~Fault() { unsetenv("FAKE_NVML_FAULT"); }
};

TEST(Nvml, ReadsEachGpu) {
  const auto nvml = Nvml::open(FAKE_NVML);
  ASSERT_TRUE(nvml.ok()) << nvml.error().render();
  EXPECT_EQ((*nvml)->driver_version(), "580.65.06");
  EXPECT_EQ((*nvml)->driver_cuda(), 13000);
  const auto gpus = (*nvml)->gpus();
  ASSERT_TRUE(gpus.ok()) << gpus.error().render();
  ASSERT_EQ(gpus->size(), 2u);
  const Gpu &first = (*gpus)[0], &second = (*gpus)[1];
  EXPECT_EQ(first.name, "NVIDIA Fake 80GB");
  EXPECT_EQ(first.memory, 85'000'000'000);
  EXPECT_EQ(first.memory_free, 84'000'000'000);
  EXPECT_EQ(first.ecc, true);
  EXPECT_EQ(first.uncorrected, 0u);
  EXPECT_EQ(first.retirement_pending, std::nullopt); // not supported
  EXPECT_EQ(first.remap_pending, false);
  EXPECT_EQ(first.remap_failed, false);
  EXPECT_EQ(first.clock, 1200);
  EXPECT_EQ(first.clock_most, 1410);
  EXPECT_EQ(first.temperature, 91);
  EXPECT_EQ(first.slowdowns, 0x1u);
  EXPECT_EQ(second.slowdowns, 0x44u);
  EXPECT_EQ(first.links_on, 12);
  EXPECT_EQ(first.links_off, 0);
  EXPECT_EQ(second.links_on, 10);
  EXPECT_EQ(second.links_off, 2);
  EXPECT_EQ(first.link_rate, 12 * 25781e6);  // as A100 tell it
  EXPECT_EQ(second.link_rate, 10 * 26562e6); // as H100 do
  EXPECT_EQ(first.link_errors, 0u);
}

TEST(Nvml, TellsOfBadMemory) {
  const Fault fault("ecc");
  const auto nvml = Nvml::open(FAKE_NVML);
  ASSERT_TRUE(nvml.ok());
  const auto gpus = (*nvml)->gpus();
  ASSERT_TRUE(gpus.ok());
  EXPECT_EQ((*gpus)[0].uncorrected, 0u);
  EXPECT_EQ((*gpus)[1].uncorrected, 2u);
  EXPECT_EQ((*gpus)[1].remap_pending, true);
}

TEST(Nvml, NamesAGpuThatIsLost) {
  const Fault fault("lost");
  const auto nvml = Nvml::open(FAKE_NVML);
  ASSERT_TRUE(nvml.ok());
  const auto gpus = (*nvml)->gpus();
  ASSERT_FALSE(gpus.ok());
  EXPECT_EQ(gpus.error().what, "GPU 1 of 2 does not answer: GPU is lost");
}

TEST(Nvml, ALibraryThatDoesNotStartOrIsNotThere) {
  const Fault fault("init");
  const auto nvml = Nvml::open(FAKE_NVML);
  ASSERT_FALSE(nvml.ok());
  EXPECT_EQ(nvml.error().code, Code::unsupported);
  EXPECT_EQ(nvml.error().what, "NVML does not start: Driver Not Loaded");
  const auto absent = Nvml::open("libno-such-nvml.so.1");
  ASSERT_FALSE(absent.ok());
  EXPECT_NE(absent.error().what.find("libno-such-nvml.so.1"), std::string::npos);
}

TEST(Nvml, ALibraryOfSomethingElse) {
  const auto nvml = Nvml::open("libc.so.6");
  ASSERT_FALSE(nvml.ok());
  EXPECT_NE(nvml.error().what.find("nvmlInit_v2"), std::string::npos) << nvml.error().what;
}

} // namespace
} // namespace conclave::doctor
