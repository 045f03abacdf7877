// Run directories whole, older, newer, damaged and half written.

#include "compare/run_facts.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "conclave/testkit.hpp"
#include "unit/compare/planted.hpp"

namespace conclave::compare {
namespace {

using conclave::testing::plant;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(RunFacts, OfAWholeRun) {
  const testkit::TemporaryDir root;
  const auto facts = read_facts(plant(root, {.name = "r", .seed = "5", .numerics = {{"optimizer.with.lr", "1e-3"}}}));
  ASSERT_TRUE(facts.ok()) << facts.error().render();
  EXPECT_EQ(facts->state, RunState::finished);
  EXPECT_EQ(facts->seed, "5");
  EXPECT_EQ(facts->settings.at("optimizer.with.lr").value, "1e-3");
  EXPECT_EQ(facts->settings.at("optimizer.with.lr").origin, "x.yaml:1:1");
  EXPECT_EQ(facts->settings.at("name").affects, Affects::naming);
  EXPECT_EQ(facts->flops_per_token, 300);
  EXPECT_EQ(facts->peak_memory, 1'000'000);
  EXPECT_EQ(facts->data_order, "d5");
  EXPECT_THAT(facts->marks, IsEmpty());
}

TEST(RunFacts, HowARunEnded) {
  const testkit::TemporaryDir root;
  const auto state = [&](const conclave::testing::Planted& run) { return read_facts(plant(root, run))->state; };
  EXPECT_EQ(state({.name = "preempted", .reached = 3, .exit_code = 75}), RunState::stopped);
  EXPECT_EQ(state({.name = "stop-after", .reached = 3}), RunState::stopped);
  EXPECT_EQ(state({.name = "diverged", .reached = 3, .exit_code = 4}), RunState::failed);
  // Its record names another machine: as long as its files are young it may be running there.
  EXPECT_EQ(state({.name = "young", .exit_code = -1}), RunState::running);
  const auto old = plant(root, {.name = "old", .exit_code = -1});
  root.write("old/.lock", "");
  for (const auto& entry : std::filesystem::directory_iterator(old))
    std::filesystem::last_write_time(entry.path(),
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(2));
  EXPECT_EQ(read_facts(old)->state, RunState::crashed);
  // Somebody here holds it.
  const int lock = ::open((old / ".lock").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(lock, 0);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  EXPECT_EQ(read_facts(old)->state, RunState::running);
  ::close(lock);
  EXPECT_EQ(read_facts(old)->state, RunState::crashed);
}

TEST(RunFacts, OfAnOlderRunComeFromResolvedYaml) {
  const testkit::TemporaryDir root;
  const auto folder = root.path() / "r";
  root.write("r/record.json", R"({"schema": 1, "attempts": [{}]})");
  root.write(
      "r/resolved.yaml",
      "# Every value\nconclave: 1  # default\nseed: 3  # a.yaml:2:7\noptimizer:\n  use: optimizer/adamw  # a.yaml:3:1\n"
      "  with:\n    lr: 1e-3  # ${lr} from b.yaml:1:1; a.yaml:4:9\n    betas: [0.9, 0.98]  # default\n"
      "monitors:\n  - use: monitor/jsonl  # a.yaml:9:1\n    name: jsonl  # a.yaml:9:1\n");
  auto facts = read_facts(folder);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->seed, "3");
  EXPECT_EQ(facts->settings.at("optimizer.with.lr").origin, "${lr} from b.yaml:1:1; a.yaml:4:9");
  EXPECT_EQ(facts->settings.at("optimizer.with.betas").value, "[0.9, 0.98]");
  EXPECT_EQ(facts->settings.at("monitors.jsonl.use").value, "monitor/jsonl");
  EXPECT_THAT(facts->marks, Contains(HasSubstr("older version")));
  RunFacts newer;
  newer.settings["monitors.jsonl.use"] = {"monitor/other", "", Affects::io};
  complete_affects({&*facts, &newer});
  EXPECT_EQ(facts->settings.at("monitors.jsonl.use").affects, Affects::io);
  EXPECT_EQ(facts->settings.at("optimizer.with.lr").affects, Affects::numerics);
}

TEST(RunFacts, DamagedFilesAreMarkedAndTheRestIsRead) {
  const testkit::TemporaryDir root;
  const auto folder = plant(root, {.name = "r"});
  root.write("r/record.json", "{\"schema\": 1, \"settings");
  root.write("r/exit.0.json", "");
  auto facts = read_facts(folder);
  ASSERT_TRUE(facts.ok());
  EXPECT_THAT(facts->marks, Contains(HasSubstr("record.json is damaged")));
  EXPECT_THAT(facts->marks, Contains(HasSubstr("exit.0.json is damaged")));
  EXPECT_THAT(facts->marks, Contains(HasSubstr("resolved.yaml is missing")));
  // Members of another type than expected read as if they were missing.
  root.write(
      "r/record.json",
      R"({"schema": "x", "settings": [1], "sweep": 3, "attempts": [{"machine": [], "model": {"parameters": "many"}}]})");
  root.write("r/resolved.yaml", "a: [1\nb: }");
  facts = read_facts(folder);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->parameters, 0);
  EXPECT_THAT(facts->marks, Contains(HasSubstr("resolved.yaml is damaged")));
  root.write("r/record.json", R"({"schema": 7, "attempts": [{}]})");
  EXPECT_THAT(read_facts(folder)->marks, Contains(HasSubstr("record.json has schema 7, this program knows 1")));
}

TEST(RunFacts, AFolderThatIsNoRun) {
  const testkit::TemporaryDir root;
  const auto facts = read_facts(root.path());
  ASSERT_FALSE(facts.ok());
  EXPECT_EQ(facts.error().code, Code::invalid_argument);
}

} // namespace
} // namespace conclave::compare
