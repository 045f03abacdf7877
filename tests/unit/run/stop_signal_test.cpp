// A signal becomes a stop request.

#include "run/stop_signal.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace conclave {
namespace {

bool wait_for_stop(const std::stop_token& token) {
  for (int i = 0; i < 500 && !token.stop_requested(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return token.stop_requested();
}

TEST(StopSignal, TheFirstSignalIsARequest) {
  for (const int number : {SIGTERM, SIGUSR1, SIGINT}) {
    auto signal = StopSignal::install();
    ASSERT_TRUE(signal.ok());
    EXPECT_FALSE(signal.value()->token().stop_requested());
    EXPECT_EQ(signal.value()->name(), "");
    std::raise(number);
    EXPECT_TRUE(wait_for_stop(signal.value()->token()));
    EXPECT_NE(signal.value()->name(), "");
  }
}

TEST(StopSignalDeathTest, TheSecondSignalEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        auto signal = StopSignal::install();
        std::raise(SIGTERM);
        std::raise(SIGTERM);
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST(StopSignal, LeavesNothingBehind) {
  { auto signal = StopSignal::install(); }
  struct sigaction current {};
  sigaction(SIGUSR1, nullptr, &current);
  EXPECT_EQ(current.sa_handler, SIG_DFL);
}

} // namespace
} // namespace conclave
