// Status, Result and the exit codes that users' scripts rely on.

#include "conclave/status.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

TEST(Status, ExitCodesAreThoseOfTheManual) {
  EXPECT_EQ(exit_code(Code::internal), 1);
  EXPECT_EQ(exit_code(Code::invalid_argument), 2);
  EXPECT_EQ(exit_code(Code::unsupported), 3);
  EXPECT_EQ(exit_code(Code::training_failed), 4);
  EXPECT_EQ(exit_code(Code::storage), 5);
  EXPECT_EQ(exit_code(Code::stopped), 75);
  EXPECT_EQ(exit_code(Code::peer_lost), 76);
}

TEST(Status, RendersWhatIsThere) {
  EXPECT_EQ(invalid("w", "f", "here").render(), "here: w: f");
  EXPECT_EQ(invalid("w", "f").render(), "w: f");
  EXPECT_EQ(invalid("w").render(), "w");
  EXPECT_TRUE(Status{}.ok());
  EXPECT_FALSE(Status{invalid("w")}.ok());
}

Result<int> half(int n) {
  if (n % 2 != 0) return invalid("odd");
  return n / 2;
}
Result<int> quarter(int n) {
  CONCLAVE_ASSIGN(const int first, half(n));
  CONCLAVE_ASSIGN(const int second, half(first));
  return second;
}
Status check(int n) {
  CONCLAVE_RETURN_IF_ERROR(quarter(n).status());
  return {};
}

TEST(Result, CarriesAValueOrTheFirstError) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_FALSE(quarter(6).ok());
  EXPECT_EQ(quarter(6).error().what, "odd");
  EXPECT_EQ(quarter(6).error().code, Code::invalid_argument);
  EXPECT_TRUE(check(8).ok());
  EXPECT_EQ(check(6).error().what, "odd");
}

TEST(Result, MovesWhatCannotBeCopied) {
  Result<std::unique_ptr<int>> made = std::make_unique<int>(3);
  const std::unique_ptr<int> taken = std::move(made).value();
  EXPECT_EQ(*taken, 3);
}

} // namespace
} // namespace conclave
