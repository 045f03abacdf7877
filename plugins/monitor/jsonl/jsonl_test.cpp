// jsonl: rows read back by another JSON library, files after a kill, and a full disk.

#include "jsonl.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "conclave/random.hpp"
#include "conclave/testkit.hpp"
#include "row.hpp"

namespace conclave {
namespace {

using jsonl::LineFile;
using jsonl::Row;
using nlohmann::json;

std::vector<json> rows_of(const std::filesystem::path& path) {
  std::vector<json> rows;
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) rows.push_back(json::parse(line));
  return rows;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

struct Running {
  testkit::TemporaryDir directory;
  testkit::FakeHost host;
  std::shared_ptr<Monitor> monitor;
  RunInfo info;
  explicit Running(const Value& with = {}) {
    auto made = testkit::make<Monitor>(testkit::this_library("monitor/jsonl"), host, with);
    if (!made.ok()) throw std::runtime_error(made.error().render());
    monitor = *made;
    info.name = "test";
    info.directory = directory.path();
    info.config_hash = "abc";
    info.total_steps = 10;
  }
  [[nodiscard]] std::filesystem::path file() const { return directory.path() / "metrics.jsonl"; }
};

StepReport report_of(std::int64_t step, double loss, std::int64_t attempt = 0) {
  StepReport report;
  report.step = step;
  report.attempt = attempt;
  report.metrics = {{"loss", "nats", loss, Reduction::mean, {}},
                    {"learning_rate", "", 1e-4, Reduction::none, {}},
                    {"domain_share", "", 0.75, Reduction::none, {{"domain", "web"}}},
                    {"domain_share", "", 0.25, Reduction::none, {{"domain", "co\"de"}}},
                    {"expert_load", "", 3, Reduction::sum, {{"layer", "0"}, {"expert", "1"}}},
                    {"expert_load", "", 5, Reduction::sum, {{"layer", "1"}, {"expert", "0"}}}};
  return report;
}

TEST(JsonlRow, NumbersReadBackAsTheSameDouble) {
  const RandomStream random(7, "doubles");
  for (std::uint64_t n = 0; n < 20'000; ++n) {
    const double value = std::bit_cast<double>(random.bits(n));
    if (!std::isfinite(value)) continue;
    EXPECT_EQ(std::bit_cast<std::uint64_t>(json::parse(jsonl::number_text(value)).get<double>()), random.bits(n));
  }
  EXPECT_EQ(jsonl::number_text(0.1), "0.1");
  EXPECT_EQ(jsonl::number_text(-0.0), "-0");
  EXPECT_EQ(jsonl::number_text(std::nan("")), "\"nan\"");
  EXPECT_EQ(jsonl::number_text(-std::numeric_limits<double>::infinity()), "\"-inf\"");
}

TEST(JsonlRow, TextIsAlwaysValidUtf8) {
  for (const std::string& text :
       {std::string("a\"b\\c\n\t\x01"), std::string("Gr\xC3\xBC\xC3\x9F"), std::string("\0", 1)})
    EXPECT_EQ(json::parse(jsonl::string_text(text)).get<std::string>(), text);
  for (const char* broken : {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80"})
    EXPECT_NE(json::parse(jsonl::string_text(broken)).get<std::string>().find("\xef\xbf\xbd"), std::string::npos);
}

TEST(Jsonl, WritesOneRowForEachEvent) {
  Running run;
  ASSERT_TRUE(run.monitor->start(run.info).ok());
  ASSERT_TRUE(run.monitor->step(report_of(1, 2.5)).ok());
  EvaluationReport evaluation;
  evaluation.step = 1;
  evaluation.metrics = {{"nll", "nats", 2.0, Reduction::mean, {}},
                        {"nll", "nats", 2.1, Reduction::mean, {{"domain", "web"}}}};
  ASSERT_TRUE(run.monitor->evaluation(evaluation).ok());
  ASSERT_TRUE(run.monitor->checkpoint(1, "/c/step-1").ok());
  ASSERT_TRUE(run.monitor->finish(75).ok());
  const auto rows = rows_of(run.file());
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0]["event"], "start");
  EXPECT_EQ(rows[0]["schema"], jsonl::schema_version);
  EXPECT_EQ(rows[1], json::parse(R"({"event":"step","step":1,"attempt":0,"loss":2.5,"learning_rate":0.0001,
      "domain_share_by_domain":{"web":0.75,"co\"de":0.25},"expert_load_by_layer_expert":{"0":{"1":3},"1":{"0":5}}})"));
  EXPECT_EQ(rows[2]["nll"], 2.0);
  EXPECT_EQ(rows[2]["nll_by_domain"]["web"], 2.1);
  EXPECT_EQ(rows[3]["path"], "/c/step-1");
  EXPECT_EQ(rows[4]["exit_code"], 75);
}

TEST(Jsonl, LeavesLabelsOutOfStepsWhenAsked) {
  Running run(testkit::map({{"labelled", false}}));
  ASSERT_TRUE(run.monitor->start(run.info).ok());
  ASSERT_TRUE(run.monitor->step(report_of(1, 2.5)).ok());
  EXPECT_EQ(rows_of(run.file())[1].size(), 5u);
}

TEST(Jsonl, NeverDoublesAKey) {
  StepReport report = report_of(1, 1);
  report.metrics.push_back({"loss", "", 9, Reduction::none, {}});
  report.metrics.push_back({"domain_share_by_domain", "", 9, Reduction::none, {}});
  const std::string text = Row().add("event", "step").add(report.metrics, true).text();
  std::size_t found = 0;
  for (std::size_t at = text.find("\"loss\""); at != std::string::npos; at = text.find("\"loss\"", at + 1)) ++found;
  EXPECT_EQ(found, 1u);
  EXPECT_EQ(json::parse(text)["loss"], 1);
}

TEST(Jsonl, RepairsALineThatAKillTore) {
  Running run;
  ASSERT_TRUE(run.monitor->start(run.info).ok());
  for (std::int64_t step = 1; step <= 50; ++step)
    ASSERT_TRUE(run.monitor->step(report_of(step, 1.0 / static_cast<double>(step))).ok());
  const std::string whole = content(run.file());
  // Wherever the kill came, what remains are the whole lines, and the next attempt goes on after them.
  for (std::size_t left = 0; left <= whole.size(); left += 397) {
    std::ofstream(run.file(), std::ios::binary | std::ios::trunc) << whole.substr(0, left);
    Running again;
    again.info.directory = run.info.directory;
    again.info.attempt = 1;
    ASSERT_TRUE(again.monitor->start(again.info).ok());
    const std::size_t end = whole.substr(0, left).rfind('\n') + 1; // npos + 1 == 0
    const std::string now = content(run.file());
    ASSERT_EQ(now.substr(0, end), whole.substr(0, end));
    const auto rows = rows_of(run.file());
    EXPECT_EQ(rows.back()["event"], "start");
    EXPECT_EQ(rows.back()["attempt"], 1);
    EXPECT_EQ(again.host.logs().size(), end == left ? 0u : 1u);
  }
}

TEST(Jsonl, CutsALineLongerThanABlock) {
  testkit::TemporaryDir directory;
  directory.write("f", "one\n" + std::string(10'000, 'x'));
  const auto file = LineFile::open(directory.path() / "f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->cut(), 10'000);
  EXPECT_EQ(content(directory.path() / "f"), "one\n");
}

TEST(Jsonl, AFailedWriteLeavesWholeLines) {
  testkit::TemporaryDir directory;
  auto file = LineFile::open(directory.path() / "f");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->append("whole\n").ok());
  // A limit on file sizes stands in for a full disk: the kernel writes a part and then refuses.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 20, before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = file->append(std::string(100, 'x') + "\n");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::storage);
  EXPECT_EQ(content(directory.path() / "f"), "whole\n");
}

TEST(Jsonl, ReportsADirectoryThatIsNotThere) {
  Running run;
  run.info.directory = run.directory.path() / "absent";
  const Status status = run.monitor->start(run.info);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::storage);
  EXPECT_FALSE(
      testkit::bind_options(testkit::this_library("monitor/jsonl").options, testkit::map({{"file", "a/b"}})).ok());
}

} // namespace
} // namespace conclave
