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

  /// Capital letters are host segments.
  Lines run(const std::string& names, const std::string& key) {
    train::StepProgram program;
    for (const char c : names) {
      const std::string name(1, c);
      const auto body = [this, name]() -> Status {
        log.push_back(recording ? "(" + name + ")" : name);
        return recording && name == failing ? internal_error("it waits for the device", "model/x") : Status{};
      };
      c < 'a' ? program.host(name, body) : program.capturable(name, body);
    }
    log.clear();
    const Status status = executor.run(program, key);
    EXPECT_TRUE(status.ok()) << status.error().render();
    return log;
  }
};

TEST(GraphExecutor, RunsThenRecordsThenRepeats) {
  Scene scene;
  EXPECT_EQ(scene.run("AbcD", "k"), (Lines{"A", "b", "c", "D"}));
  EXPECT_EQ(scene.run("AbcD", "k"), (Lines{"A", "(b)", "(c)", "[0]", "D"}));
  EXPECT_EQ(scene.run("AbcD", "k"), (Lines{"A", "[0]", "D"}));
  EXPECT_EQ(scene.run("AbD", "other"), (Lines{"A", "b", "D"}));
  EXPECT_EQ(scene.run("AbcD", "k"), (Lines{"A", "[0]", "D"}));
  EXPECT_EQ(scene.run("AbD", "other"), (Lines{"A", "(b)", "[1]", "D"}));
  EXPECT_TRUE(scene.notes.empty());
}

TEST(GraphExecutor, AHostSegmentBetweenCutsTheRecording) {
  Scene scene;
  scene.run("AbCdE", "k");
  EXPECT_EQ(scene.run("AbCdE", "k"), (Lines{"A", "(b)", "[0]", "C", "(d)", "[1]", "E"}));
  EXPECT_EQ(scene.run("AbCdE", "k"), (Lines{"A", "[0]", "C", "[1]", "E"}));
}

TEST(GraphExecutor, WhatCannotBeRecordedRunsFromItsRunsFirstSegment) {
  Scene scene;
  scene.failing = "d";
  scene.run("AbcdE", "k");
  EXPECT_EQ(scene.run("AbcdE", "k"), (Lines{"A", "(b)", "(c)", "(d)", "b", "c", "d", "E"}));
  EXPECT_EQ(scene.run("AbcdE", "k"), (Lines{"A", "b", "c", "d", "E"}));
  ASSERT_EQ(scene.notes.size(), 1U);
  EXPECT_NE(scene.notes[0].find("it waits for the device"), std::string::npos);
  scene.run("AbdE", "again"); // the same reason is told once
  EXPECT_EQ(scene.run("AbdE", "again"), (Lines{"A", "(b)", "(d)", "b", "d", "E"}));
  EXPECT_EQ(scene.notes.size(), 1U);
}

TEST(GraphExecutor, TheRecordersOwnErrorCounts) {
  Scene scene;
  scene.refusal = "out of memory";
  scene.run("AbC", "k");
  EXPECT_EQ(scene.run("AbC", "k"), (Lines{"A", "(b)", "b", "C"}));
  EXPECT_EQ(scene.notes.size(), 1U);
}

TEST(GraphExecutor, TooManyShapesStayEager) {
  Scene scene;
  for (std::size_t i = 0; i < train::GraphExecutor::most_keys; ++i) scene.run("AbC", std::to_string(i));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(scene.run("AbC", "one more"), (Lines{"A", "b", "C"}));
  ASSERT_EQ(scene.notes.size(), 1U);
  EXPECT_NE(scene.notes[0].find("32 shapes"), std::string::npos);
  EXPECT_EQ(scene.run("AbC", "0"), (Lines{"A", "(b)", "[0]", "C"}));
}

} // namespace
} // namespace conclave
