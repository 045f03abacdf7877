// A signal becomes a stop request.

#include "run/stop_signal.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <thread>

namespace conclave {
namespace {

/// Whoever starts the tests may ignore signals (nohup, a shell's background job): here they have their defaults.
class StopSignalTest : public testing::Test {
 public:
  ~StopSignalTest() override {
    for (std::size_t i = 0; i < numbers.size(); ++i) sigaction(numbers[i], &before_[i], nullptr);
  }

 protected:
  StopSignalTest() {
    struct sigaction plain {};
    plain.sa_handler = SIG_DFL;
    for (std::size_t i = 0; i < numbers.size(); ++i) sigaction(numbers[i], &plain, &before_[i]);
  }
  static constexpr std::array<int, 5> numbers = {SIGTERM, SIGUSR1, SIGINT, SIGHUP, SIGPIPE};

 private:
  std::array<struct sigaction, numbers.size()> before_{};
};
using StopSignalDeathTest = StopSignalTest;

bool wait_for_stop(const std::stop_token& token) {
  for (int i = 0; i < 500 && !token.stop_requested(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return token.stop_requested();
}

TEST_F(StopSignalTest, TheFirstSignalIsARequest) {
  for (const int number : {SIGTERM, SIGUSR1, SIGINT, SIGHUP}) {
    auto signal = StopSignal::install();
    ASSERT_TRUE(signal.ok());
    EXPECT_FALSE(signal.value()->token().stop_requested());
    EXPECT_EQ(signal.value()->name(), "");
    std::raise(number);
    EXPECT_TRUE(wait_for_stop(signal.value()->token()));
    EXPECT_NE(signal.value()->name(), "");
  }
}

TEST_F(StopSignalDeathTest, TheSecondSignalEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        auto signal = StopSignal::install();
        std::raise(SIGTERM);
        std::raise(SIGINT);
      },
      testing::ExitedWithCode(128 + SIGINT), "");
  EXPECT_EXIT(
      {
        auto signal = StopSignal::install();
        std::raise(SIGTERM);
        std::this_thread::sleep_for(std::chrono::milliseconds(1100));
        std::raise(SIGTERM);
      },
      testing::ExitedWithCode(128 + SIGTERM), "");
}

TEST_F(StopSignalTest, OneRequestMayComeTwice) {
  for (const int number : {SIGHUP, SIGTERM}) {
    auto signal = StopSignal::install();
    std::raise(number);
    std::raise(number);
    EXPECT_TRUE(wait_for_stop(signal.value()->token()));
  }
}

TEST_F(StopSignalTest, WhatTheCallerIgnoresStaysIgnored) {
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGHUP, &ignore, &before);
  {
    auto signal = StopSignal::install();
    std::raise(SIGHUP);
    std::raise(SIGHUP); // the second one would end the process
    EXPECT_EQ(signal.value()->name(), "");
  }
  sigaction(SIGHUP, &before, nullptr);
}

TEST_F(StopSignalTest, AClosedPipeIsAnErrorOfTheWrite) {
  auto signal = StopSignal::install();
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  close(ends[1]);
}

TEST_F(StopSignalTest, LeavesNothingBehind) {
  { auto signal = StopSignal::install(); }
  for (const int number : {SIGUSR1, SIGHUP, SIGPIPE}) {
    struct sigaction current {};
    sigaction(number, nullptr, &current);
    EXPECT_EQ(current.sa_handler, SIG_DFL);
  }
}

} // namespace
} // namespace conclave
