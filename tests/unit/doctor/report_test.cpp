// The table, JSON, and lines on their way between ranks.

#include "doctor/report.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace conclave::doctor {
namespace {

const std::vector<NodeChecks> nodes = {
    {"gpu-1", {{"GPUs", Verdict::ok, "8 x A100", ""}, {"open files", Verdict::warn, "1024", "raise it"}}},
    {"gpu-2", {{"GPUs", Verdict::ok, "8 x A100", ""}, {"open files", Verdict::ok, "65536", ""}}},
    {"gpu-3", {{"GPUs", Verdict::fail, "7 x A100", "8 wanted: reset it"}}}};

TEST(Report, ATable) {
  EXPECT_EQ(render(nodes),
            "gpu-1\n"
            "  ok    GPUs        8 x A100\n"
            "  warn  open files  1024\n"
            "                    raise it\n"
            "gpu-2: 2 checks are ok\n"
            "gpu-3\n"
            "  FAIL  GPUs        7 x A100\n"
            "                    8 wanted: reset it\n"
            "1 failure and 1 warning in 5 checks of 3 nodes\n");
}

TEST(Report, OneGoodNodeIsShownWhole) {
  EXPECT_EQ(render({nodes[1]}),
            "gpu-2\n"
            "  ok    GPUs        8 x A100\n"
            "  ok    open files  65536\n"
            "0 failures and 0 warnings in 2 checks of 1 node\n");
}

TEST(Report, Json) {
  const auto report = nlohmann::json::parse(to_json(nodes));
  EXPECT_EQ(report["schema"], 1);
  EXPECT_EQ(report["failed"], 1);
  EXPECT_EQ(report["warnings"], 1);
  EXPECT_EQ(report["nodes"].size(), 3u);
  EXPECT_EQ(report["nodes"][2]["node"], "gpu-3");
  const nlohmann::json expected = {
      {"name", "GPUs"}, {"verdict", "fail"}, {"figure", "7 x A100"}, {"advice", "8 wanted: reset it"}};
  EXPECT_EQ(report["nodes"][2]["checks"][0], expected);
}

TEST(Report, LinesSurviveTheirWay) {
  NodeChecks odd{"n", {{"a \"name\"", Verdict::fail, "two\nlines\t\x01", "ä"}, {"", Verdict::ok, "", ""}}};
  const auto back = unpack(pack(odd));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->node, "n");
  EXPECT_EQ(back->checks, odd.checks);
  EXPECT_FALSE(unpack("n\nnot json\n").ok());
  EXPECT_FALSE(unpack("n\n{\"name\": 3}\n").ok());
}

TEST(Report, Numbers) {
  EXPECT_EQ(size_text(0), "0 B");
  EXPECT_EQ(size_text(999), "999 B");
  EXPECT_EQ(size_text(1000), "1.00 kB");
  EXPECT_EQ(size_text(999'600), "1.00 MB");
  EXPECT_EQ(size_text(85'899'345'920.0), "85.9 GB");
  EXPECT_EQ(number_text(0.1234), "0.123");
  EXPECT_EQ(number_text(12.34), "12.3");
  EXPECT_EQ(number_text(1234.5), "1234");
  EXPECT_EQ(number_text(0), "0");
}

} // namespace
} // namespace conclave::doctor
