// Whatever escapes a plugin comes back as an Error with its id.

#include "plugin/guard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace conclave {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Guard, PassesResultsThrough) {
  EXPECT_TRUE(guard("filter/x", "run", [] {}).ok());
  EXPECT_TRUE(guard("filter/x", "run", [] { return Status{}; }).ok());
  const Result<int> plain = guard("filter/x", "run", [] { return 7; });
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(*plain, 7);
  const Result<int> wrapped = guard("filter/x", "run", [] { return Result<int>(8); });
  EXPECT_EQ(*wrapped, 8);
}

TEST(Guard, FillsInAnEmptyPlaceOnly) {
  EXPECT_EQ(guard("filter/x", "run", []() -> Status { return invalid("no"); }).error().where, "filter/x");
  EXPECT_EQ(guard("filter/x", "run", []() -> Status { return invalid("no", "", "a.txt"); }).error().where, "a.txt");
  EXPECT_EQ(guard("filter/x", "run", []() -> Result<int> { return invalid("no"); }).error().where, "filter/x");
}

TEST(Guard, TheHostsOwnErrorsStayWithoutAPlace) {
  const auto fails = [] { return internal_error("no"); };
  EXPECT_EQ(guard(nullptr, nullptr, [&]() -> Status { return fails(); }).error().where, "");
  EXPECT_EQ(guard(nullptr, nullptr, [&]() -> Result<int> { return fails(); }).error().where, "");
}

TEST(Guard, TurnsExceptionsIntoErrors) {
  const Status standard = guard("filter/x", "annotate", [] { throw std::out_of_range("row 9"); });
  EXPECT_EQ(standard.error().code, Code::internal);
  EXPECT_EQ(standard.error().where, "filter/x");
  EXPECT_EQ(standard.error().what, "annotate() threw std::out_of_range: row 9");
  const Result<int> odd = guard("filter/x", "annotate", []() -> int { throw 5; });
  EXPECT_EQ(odd.error().what, "annotate() threw a int");
}

TEST(Guard, RunningOutOfMemoryIsNobodysBug) {
  const Status standard = guard("filter/x", "annotate", [] { throw std::bad_alloc(); });
  EXPECT_EQ(standard.error().code, Code::unsupported);
  EXPECT_EQ(standard.error().where, "filter/x");
  EXPECT_EQ(standard.error().what, "out of memory");
  EXPECT_THAT(standard.error().fix, HasSubstr("train.micro_batch"));
  // What LibTorch's allocator for the CPU says, with the trace that it appends.
  const Status torch = guard("model/x", "forward", [] {
    throw std::runtime_error(
        "[enforce fail at alloc_cpu.cpp:126] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 9 bytes. Error code 12 (Cannot allocate memory)\nframe #0: c10::ThrowEnforceNotMet "
        "(libc10.so)\nframe #1");
  });
  EXPECT_EQ(torch.error().code, Code::unsupported);
  EXPECT_THAT(torch.error().what, HasSubstr("you tried to allocate 9 bytes"));
  EXPECT_THAT(torch.error().what, Not(HasSubstr("frame #")));
}

TEST(Guard, LeavesTorchsTraceOut) {
  const Status status = guard("model/x", "forward", [] {
    throw std::runtime_error(
        "shapes do not match.\nException raised from check at /src/file.cpp:1 (most recent call first):\nframe #0");
  });
  EXPECT_EQ(status.error().what, "forward() threw std::runtime_error: shapes do not match");
}

TEST(Guard, KeepsABreadcrumbForTheTimeOfTheCall) {
  EXPECT_EQ(current_breadcrumb().plugin, nullptr);
  const Status status = guard("scheduler/outer", "make", [] {
    EXPECT_STREQ(current_breadcrumb().plugin, "scheduler/outer");
    const Status inner = guard("scheduler/inner", "rate", [] {
      EXPECT_STREQ(current_breadcrumb().plugin, "scheduler/inner");
      throw std::runtime_error("x");
    });
    EXPECT_FALSE(inner.ok());
    EXPECT_STREQ(current_breadcrumb().plugin, "scheduler/outer");
    EXPECT_STREQ(current_breadcrumb().call, "make");
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(current_breadcrumb().plugin, nullptr);
}

} // namespace
} // namespace conclave
