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

bool wait_for_stop(const std::stop_token& token) {
  for (int i = 0; i < 500 && !token.stop_requested(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return token.stop_requested();
}

TEST(StopSignal, TheFirstSignalIsARequest) {
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

TEST(StopSignal, WhatTheCallerIgnoresStaysIgnored) {
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

TEST(StopSignal, AClosedPipeIsAnErrorOfTheWrite) {
  auto signal = StopSignal::install();
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  close(ends[1]);
}

TEST(StopSignal, LeavesNothingBehind) {
  { auto signal = StopSignal::install(); }
  for (const int number : {SIGUSR1, SIGHUP, SIGPIPE}) {
    struct sigaction current {};
    sigaction(number, nullptr, &current);
    EXPECT_EQ(current.sa_handler, SIG_DFL);
  }
}

} // namespace
} // namespace conclave
