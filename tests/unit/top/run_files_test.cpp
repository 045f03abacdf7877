// Run directories as they grow, go on and end.

#include "top/run_files.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "conclave/testkit.hpp"

namespace conclave::top {
namespace {

class RunFilesTest : public testing::Test {
 protected:
  void write(const std::string& text, const std::string& name = "metrics.jsonl") {
    std::ofstream(folder_ / name, std::ios::app) << text;
  }
  static std::string start(int attempt, int first) {
    return R"({"event":"start","schema":1,"attempt":)" + std::to_string(attempt) + R"(,"first_step":)" +
           std::to_string(first) + R"(,"total_steps":100,"name":"n","world_size":4})" + "\n";
  }
  static std::string step(int number, const std::string& loss, const std::string& more = "") {
    return R"({"event":"step","step":)" + std::to_string(number) + R"(,"attempt":0,"loss":)" + loss +
           R"(,"learning_rate":0.5,"grad_norm":2,"tokens_per_second":10,"step_seconds":0.25,"data_wait_seconds":0.125)" +
           more + "}\n";
  }
  const testkit::TemporaryDir temporary_;
  const std::filesystem::path folder_ = temporary_.path();
  View view_;
};

TEST_F(RunFilesTest, ARunThatGrows) {
  RunFiles files(folder_);
  write(start(0, 0) + step(1, "3", R"(,"expert_load_by_layer_expert":{"0":{"0":30,"1":10},"1":{"0":20,"1":20}})"));
  ASSERT_TRUE(files.refresh(view_).ok());
  EXPECT_EQ(view_.name, "n");
  EXPECT_EQ(view_.step, 1);
  EXPECT_EQ(view_.total_steps, 100);
  EXPECT_EQ(view_.ranks, 4);
  EXPECT_EQ(view_.step_seconds, 0.25);
  EXPECT_EQ(view_.data_wait_seconds, 0.125);
  ASSERT_EQ(view_.experts.size(), 2u);
  EXPECT_EQ(view_.experts[0].load, (std::vector<double>{30, 10}));
  EXPECT_EQ(view_.experts[0].fullest, 1.5);
  EXPECT_LT(view_.silent_seconds, 600);
  // A row comes in two pieces.
  const std::string row = step(2, "2.5");
  write(row.substr(0, 30));
  ASSERT_TRUE(files.refresh(view_).ok());
  EXPECT_EQ(view_.points.size(), 1u);
  write(row.substr(30));
  write(R"({"event":"evaluation","step":2,"eval_nll":2,"eval_nll_by_domain":{"web":2.25,"code":1.75}})"
        "\n"
        R"({"event":"checkpoint","step":2,"path":"x"})"
        "\n");
  ASSERT_TRUE(files.refresh(view_).ok());
  ASSERT_EQ(view_.points.size(), 2u);
  EXPECT_EQ(view_.points[1].loss, 2.5);
  EXPECT_EQ(view_.held_out, (std::map<std::string, double>{{"code", 1.75}, {"web", 2.25}}));
  EXPECT_EQ(view_.checkpoint, 2);
  EXPECT_FALSE(view_.exit_code);
  write(R"({"event":"finish","attempt":0,"exit_code":0})"
        "\n");
  ASSERT_TRUE(files.refresh(view_).ok());
  EXPECT_EQ(view_.exit_code, 0);
}

TEST_F(RunFilesTest, ALaterAttemptReplacesWhatItRepeats) {
  write(start(0, 0) + step(1, "5") + step(2, "4") + step(3, "3") + start(1, 1) + step(2, "40"));
  RunFiles files(folder_);
  ASSERT_TRUE(files.refresh(view_).ok());
  ASSERT_EQ(view_.points.size(), 2u);
  EXPECT_EQ(view_.points[0].loss, 5);
  EXPECT_EQ(view_.points[1].step, 2);
  EXPECT_EQ(view_.points[1].loss, 40);
  EXPECT_EQ(view_.attempt, 1);
}

TEST_F(RunFilesTest, WhatIsNoNumberAndRowsThatAreTorn) {
  write(start(0, 0) + step(1, "\"nan\"") + step(2, "\"inf\"") + "{\"event\":\"st\n\n[1]\n" + step(3, "1"));
  RunFiles files(folder_);
  ASSERT_TRUE(files.refresh(view_).ok());
  ASSERT_EQ(view_.points.size(), 3u);
  EXPECT_TRUE(std::isnan(view_.points[0].loss));
  EXPECT_TRUE(std::isinf(view_.points[1].loss));
  EXPECT_EQ(view_.points[2].loss, 1);
}

TEST_F(RunFilesTest, HowRanksEnded) {
  write(start(1, 0) + step(1, "5"));
  write(R"({"code":76,"reason":"rank 3 is lost","step":1,"attempt":1})", "exit.0.json");
  write(R"({"code":5,"reason":"of an earlier attempt","step":1,"attempt":0})", "exit.2.json");
  write("torn", "exit.1.json");
  write("{}", "exit.x.json");
  RunFiles files(folder_);
  ASSERT_TRUE(files.refresh(view_).ok());
  EXPECT_EQ(view_.ended, (std::map<int, std::string>{{0, "76: rank 3 is lost"}}));
  EXPECT_EQ(view_.exit_code, 76);
}

TEST_F(RunFilesTest, AFolderThatIsNoRun) {
  RunFiles files(folder_);
  const Status read = files.refresh(view_);
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, Code::storage);
  EXPECT_NE(read.error().render().find("metrics.jsonl"), std::string::npos);
}

} // namespace
} // namespace conclave::top
