// When GraphExecutor records, repeats and gives up, with a recorder that only takes notes.

#include "train/graph_executor.hpp"

#include <gtest/gtest.h>

#include <string>

namespace conclave {
namespace {

using Lines = std::vector<std::string>;

/// What happened, in order: "a" a segment that ran, "(a)" one that was recorded, "[0]" a repetition of recording 0.
struct Scene {
  Lines log, notes;
  bool recording = false;
  int recordings = 0;
  std::string refusal; ///< a recorder's own error, once the body has run

  struct Work final : train::RecordedWork {
    Work(Scene& in, int n) : scene(in), number(n) {}
    void replay() override { scene.log.push_back("[" + std::to_string(number) + "]"); }
    Scene& scene;
    int number;
  };
  struct Recorder final : train::WorkRecorder {
    explicit Recorder(Scene& in) : scene(in) {}
    Result<std::unique_ptr<train::RecordedWork>> record(const std::function<Status()>& body) override {
      scene.recording = true;
      const Status status = body();
      scene.recording = false;
      if (!status.ok()) return status.error();
      if (!scene.refusal.empty()) return unsupported(scene.refusal, "");
      return std::unique_ptr<train::RecordedWork>(std::make_unique<Work>(scene, scene.recordings++));
    }
    Scene& scene;
  };

  train::GraphExecutor executor{std::make_unique<Recorder>(*this),
                                [this](const std::string& reason) { notes.push_back(reason); }};
  std::string failing; ///< a segment that cannot be recorded

  /// Capital letters are host segments; a digit is the key of the capturable ones behind it, until there is another.
  Lines run(const std::string& names) {
    train::StepProgram program;
    std::string key;
    for (const char c : names) {
      const std::string name(1, c);
      if (c >= '0' && c <= '9') {
        key = name;
        continue;
      }
      const auto body = [this, name]() -> Status {
        log.push_back(recording ? "(" + name + ")" : name);
        return recording && name == failing ? internal_error("it waits for the device", "model/x") : Status{};
      };
      c < 'a' ? program.host(name, body) : program.capturable(name, key, body);
    }
    log.clear();
    const Status status = executor.run(program);
    EXPECT_TRUE(status.ok()) << status.error().render();
    return log;
  }
};

TEST(GraphExecutor, RunsThenRecordsThenRepeats) {
  Scene scene;
  EXPECT_EQ(scene.run("A1bcD"), (Lines{"A", "b", "c", "D"}));
  EXPECT_EQ(scene.run("A1bcD"), (Lines{"A", "(b)", "(c)", "[0]", "D"}));
  EXPECT_EQ(scene.run("A1bcD"), (Lines{"A", "[0]", "D"}));
  EXPECT_EQ(scene.run("A2bD"), (Lines{"A", "b", "D"}));
  EXPECT_EQ(scene.run("A1bcD"), (Lines{"A", "[0]", "D"}));
  EXPECT_EQ(scene.run("A2bD"), (Lines{"A", "(b)", "[1]", "D"}));
  EXPECT_TRUE(scene.notes.empty());
}

TEST(GraphExecutor, AHostSegmentOrAnotherKeyEndsARun) {
  Scene scene;
  scene.run("A1bC2d3eF");
  EXPECT_EQ(scene.run("A1bC2d3eF"), (Lines{"A", "(b)", "[0]", "C", "(d)", "[1]", "(e)", "[2]", "F"}));
  EXPECT_EQ(scene.run("A1bC2d3eF"), (Lines{"A", "[0]", "C", "[1]", "[2]", "F"}));
}

TEST(GraphExecutor, RunsOfOneKeyShareARecording) {
  Scene scene;
  EXPECT_EQ(scene.run("A1bC1bC1bD"), (Lines{"A", "b", "C", "b", "C", "b", "D"})) << "steps count, not runs";
  EXPECT_EQ(scene.run("A1bC1bD"), (Lines{"A", "(b)", "[0]", "C", "[0]", "D"}));
  EXPECT_EQ(scene.run("A2bC1bD"), (Lines{"A", "b", "C", "[0]", "D"})) << "another order, of which a part is known";
}

TEST(GraphExecutor, WhatCannotBeRecordedRunsFromItsRunsFirstSegment) {
  Scene scene;
  scene.failing = "d";
  scene.run("A1bcdE2f");
  EXPECT_EQ(scene.run("A1bcdE2f"), (Lines{"A", "(b)", "(c)", "(d)", "b", "c", "d", "E", "(f)", "[0]"}));
  EXPECT_EQ(scene.run("A1bcdE2f"), (Lines{"A", "b", "c", "d", "E", "[0]"}));
  ASSERT_EQ(scene.notes.size(), 1U);
  EXPECT_NE(scene.notes[0].find("it waits for the device"), std::string::npos);
  scene.run("A3bdE"); // the same reason is told once
  EXPECT_EQ(scene.run("A3bdE"), (Lines{"A", "(b)", "(d)", "b", "d", "E"}));
  EXPECT_EQ(scene.notes.size(), 1U);
}

TEST(GraphExecutor, TheRecordersOwnErrorCounts) {
  Scene scene;
  scene.refusal = "out of memory";
  scene.run("A1bC");
  EXPECT_EQ(scene.run("A1bC"), (Lines{"A", "(b)", "b", "C"}));
  EXPECT_EQ(scene.notes.size(), 1U);
}

TEST(GraphExecutor, TooManyKeysStayEager) {
  Scene scene;
  const auto step = [&](std::size_t key) {
    train::StepProgram program;
    program.capturable("b", std::to_string(key), [&]() -> Status {
      scene.log.push_back(scene.recording ? "(b)" : "b");
      return {};
    });
    scene.log.clear();
    EXPECT_TRUE(scene.executor.run(program).ok());
    return scene.log;
  };
  constexpr std::size_t most = train::GraphExecutor::most_keys;
  for (std::size_t key = 0; key < most; ++key) step(key);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(step(most), (Lines{"b"}));
  ASSERT_EQ(scene.notes.size(), 1U);
  EXPECT_NE(scene.notes[0].find(std::to_string(most) + " recordings"), std::string::npos);
  EXPECT_EQ(step(0), (Lines{"(b)", "[0]"}));
}

} // namespace
} // namespace conclave
