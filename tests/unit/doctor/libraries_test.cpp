// Library versions: right and wrong ones.

#include "doctor/libraries.hpp"

#include <gtest/gtest.h>

#include "conclave/build_info.hpp"
#include "unit/doctor/lines.hpp"

namespace conclave::doctor {
namespace {

Check judged_library(LibraryFact fact) { return judge_libraries({std::move(fact)}).front(); }

TEST(Libraries, Versions) {
  EXPECT_EQ(compare_versions("2.11.0", "2.9.1"), 1);
  EXPECT_EQ(compare_versions("2.9.1", "2.11.0"), -1);
  EXPECT_EQ(compare_versions("13", "13.0"), 0);
  EXPECT_EQ(cuda_version_text(13000), "13.0");
  EXPECT_EQ(cuda_version_text(12080), "12.8");
  EXPECT_EQ(dotted_version_text(22809), "2.28.9");
  EXPECT_EQ(dotted_version_text(91002), "9.10.2");
}

TEST(Libraries, ACxxInterfaceMustBeTheSame) {
  using Rule = LibraryFact::Rule;
  EXPECT_EQ(judged_library({"LibTorch", "2.11.0", "2.11.0", Rule::equal}).verdict, Verdict::ok);
  for (const char* other : {"2.11.1", "2.10.0", "3.0.0"}) {
    const Check check = judged_library({"LibTorch", "2.11.0", other, Rule::equal});
    EXPECT_EQ(check.verdict, Verdict::fail) << other;
    EXPECT_TRUE(check.advice.starts_with("the program was built for 2.11.0: ")) << check.advice;
  }
}

TEST(Libraries, ACInterfaceMayBeNewerWithinItsMajorVersion) {
  EXPECT_EQ(judged_library({"NCCL", "2.28.9", "2.28.9"}).verdict, Verdict::ok);
  EXPECT_EQ(judged_library({"NCCL", "2.28.9", "2.30.1"}).verdict, Verdict::ok);
  EXPECT_EQ(judged_library({"NCCL", "2.28.9", "2.28.3"}).verdict, Verdict::fail);
  EXPECT_EQ(judged_library({"cuDNN", "9.10.2", "10.0.0"}).verdict, Verdict::fail);
  EXPECT_EQ(judged_library({"NCCL", "", "2.28.9"}).verdict, Verdict::ok);
  EXPECT_EQ(judged_library({"NCCL", "2.28.9", ""}).verdict, Verdict::fail);
}

TEST(Libraries, WhyOneCannotBeUsed) {
  EXPECT_EQ(judged_library({.name = "x", .built = "1", .found = "", .why = "no such file"}).figure, "no such file");
}

TEST(Libraries, ThisProcessHasTheLibTorchThatItWasBuiltFor) {
  const auto facts = read_libraries(false);
  ASSERT_EQ(facts.size(), 1u);
  EXPECT_FALSE(facts[0].found.empty());
  EXPECT_TRUE(std::string(CONCLAVE_BUILD_TORCH).starts_with(facts[0].found)) << facts[0].found;
  EXPECT_EQ(judged_library(facts[0]).verdict, Verdict::ok);
}

} // namespace
} // namespace conclave::doctor
