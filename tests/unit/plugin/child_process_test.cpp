// Children that end well, badly, late or not at all.

#include "plugin/child_process.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>

namespace conclave {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ChildOutcome shell(const std::string& script, double seconds, std::vector<std::string>* lines = nullptr) {
  auto outcome = run_child("/bin/sh", {"-c", script}, seconds, [&](const std::string& line) {
    if (lines) lines->push_back(line);
    return 0.0;
  });
  if (!outcome.ok()) throw std::runtime_error(outcome.error().render());
  return *outcome;
}

TEST(RunChild, HandsOverLinesAndTheEndOfStandardError) {
  std::vector<std::string> lines;
  const ChildOutcome outcome = shell("echo one; echo two; echo why >&2", 30, &lines);
  EXPECT_THAT(lines, ElementsAre("one", "two"));
  EXPECT_EQ(outcome.errors, "why\n");
  EXPECT_EQ(outcome.exit_status, 0);
  EXPECT_EQ(outcome.describe(), "");
}

TEST(RunChild, TellsExitsFromSignals) {
  EXPECT_EQ(shell("exit 3", 30).describe(), "exited with 3");
  EXPECT_THAT(shell("kill -SEGV $$", 30).describe(), HasSubstr("SIGSEGV"));
}

TEST(RunChild, KillsTheWholeGroupOfALateChild) {
  std::vector<std::string> lines;
  const ChildOutcome outcome = shell("sleep 600 & echo $!; wait", 0.3, &lines);
  EXPECT_TRUE(outcome.timed_out);
  ASSERT_EQ(lines.size(), 1u);
  const pid_t grandchild = std::stoi(lines[0]);
  // An orphan stays a zombie until init collects it; it must not be running.
  bool gone = false;
  for (int i = 0; i < 200 && !gone; ++i) {
    gone = ::kill(grandchild, 0) != 0;
    if (!gone) {
      FILE* status = std::fopen(("/proc/" + lines[0] + "/stat").c_str(), "r");
      char state = 'Z';
      if (status) {
        if (std::fscanf(status, "%*d %*s %c", &state) != 1) state = 'Z';
        std::fclose(status);
      }
      gone = state == 'Z';
    }
    if (!gone) usleep(10000);
  }
  EXPECT_TRUE(gone);
}

TEST(RunChild, TellsALoopFromAWait) {
  ChildOutcome loop = shell("while :; do :; done", 0.3);
  for (int i = 0; i < 10 && loop.on_the_clock; ++i) // a busy machine gave it less than a sixth of a core
    loop = shell("while :; do :; done", 0.3);
  EXPECT_TRUE(loop.timed_out);
  EXPECT_FALSE(loop.from_outside());
  const ChildOutcome wait = shell("sleep 600", 0.3);
  EXPECT_TRUE(wait.timed_out);
  EXPECT_TRUE(wait.from_outside());
  EXPECT_TRUE(shell("kill -KILL $$", 30).from_outside()) << "as the kernel does when memory runs out";
  EXPECT_FALSE(shell("kill -SEGV $$", 30).from_outside());
}

TEST(RunChild, DoesNotWaitForGrandchildrenThatKeepThePipe) {
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(shell("sleep 600 & exit 0", 500).describe(), "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(400)); // ended by us, not by the limit
}

TEST(RunChild, ALineMayMoveTheDeadline) {
  std::vector<std::string> lines;
  const auto outcome =
      run_child("/bin/sh", {"-c", "echo ready; sleep 600"}, 300, [](const std::string&) { return 0.2; });
  ASSERT_TRUE(outcome.ok());
  EXPECT_TRUE(outcome->timed_out);
  EXPECT_DOUBLE_EQ(outcome->limit_seconds, 0.2);
}

TEST(RunChild, AProgramThatIsNotThereIsAnError) {
  const auto outcome = run_child("/no/such/program", {}, 5, [](const std::string&) { return 0.0; });
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().where, "/no/such/program");
}

} // namespace
} // namespace conclave
