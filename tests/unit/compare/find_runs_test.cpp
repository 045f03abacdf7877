// Directories, folders of runs, patterns and sweeps.

#include "compare/find_runs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conclave/testkit.hpp"

namespace conclave::compare {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FindRuns : public ::testing::Test {
 protected:
  std::vector<std::string> found(const std::vector<std::string>& names) {
    const auto runs = find_runs(names, root.path());
    if (!runs.ok()) return {runs.error().render()};
    std::vector<std::string> leaves;
    for (const auto& run : *runs) leaves.push_back(run.filename().string());
    return leaves;
  }
  [[nodiscard]] std::string at(const std::string& name) const { return (root.path() / name).string(); }
  void run(const std::string& name, const std::string& record = "{}") { root.write(name + "/record.json", record); }
  testkit::TemporaryDir root;
};

TEST_F(FindRuns, ByFolderAndPatternEachOnce) {
  run("a=10"), run("a=9"), run("b");
  root.write("c/log.0.txt", "no run");
  EXPECT_THAT(found({at("b"), at("a=*")}), ElementsAre("b", "a=9", "a=10"));
  EXPECT_THAT(found({root.path().string(), at("b")}), ElementsAre("a=9", "a=10", "b"));
  EXPECT_THAT(found({at("*")}), ElementsAre("a=9", "a=10", "b"));
}

TEST_F(FindRuns, AFolderWhoseNameReadsAsAPattern) {
  run("x[1]"), run("x1");
  EXPECT_THAT(found({at("x[1]")}), ElementsAre("x[1]"));
}

TEST_F(FindRuns, MembersOfASweepInItsOrder) {
  run("s/z", R"({"sweep": {"name": "lr", "member": "z", "index": 0}})");
  run("s/b", R"({"sweep": {"name": "lr", "member": "b", "index": 2}})");
  run("s/a", R"({"sweep": {"name": "lr", "member": "a", "index": 10}})");
  run("s/other", R"({"sweep": {"name": "else", "member": "c", "index": 1}})");
  run("alone", R"({"sweep": {"name": "lr", "member": "d", "index": 11}})");
  EXPECT_THAT(found({"lr"}), ElementsAre("z", "b", "a", "alone"));
}

TEST_F(FindRuns, WhatFindsNothingSaysWhatThereIs) {
  run("s/z", R"({"sweep": {"name": "lr", "member": "z", "index": 0}})");
  EXPECT_THAT(found({"lt"})[0], HasSubstr("lt: is no run directory, no pattern that finds one, and no sweep in"));
  EXPECT_THAT(found({"lt"})[0], HasSubstr("sweeps there: lr"));
  root.write("empty/x", "");
  EXPECT_THAT(found({at("empty")})[0], HasSubstr("holds no run"));
}

} // namespace
} // namespace conclave::compare
