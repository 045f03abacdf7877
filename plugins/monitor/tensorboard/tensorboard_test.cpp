// tensorboard: checksums and bytes against published vectors and a file that TensorBoard's own reader has accepted.

#include "tensorboard.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "conclave/testkit.hpp"
#include "protobuf.hpp"

namespace conclave {
namespace {

using namespace tensorboard;

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(c));
    text += two;
  }
  return text;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Payloads of a file; fails the test on a wrong length or checksum.
std::vector<std::string> payloads(const std::string& file) {
  std::vector<std::string> found;
  const auto number = [&](std::size_t at, int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i)
      value |= static_cast<std::uint64_t>(static_cast<unsigned char>(file.at(at + static_cast<std::size_t>(i))))
               << (8 * i);
    return value;
  };
  for (std::size_t at = 0; at < file.size();) {
    const std::uint64_t length = number(at, 8);
    EXPECT_EQ(number(at + 8, 4), masked_crc32c(std::string_view(file).substr(at, 8)));
    found.push_back(file.substr(at + 12, length));
    EXPECT_EQ(number(at + 12 + length, 4), masked_crc32c(found.back()));
    at += length + 16;
  }
  return found;
}

const std::vector<std::pair<std::string, std::string>> settings = {{"optimizer.with.lr", "1e-4"},
                                                                   {"model.use", "model/moe-transformer"},
                                                                   {"precision.deterministic", "true"},
                                                                   {"train.steps", "100k"}};

/// What the golden file holds: made once by this code, read back by TensorBoard's EventAccumulator and hparams page.
std::string golden_records() {
  constexpr double time = 1.7e9;
  return record(version_event(time)) + record(session_start_event(time, settings, "abc")) +
         record(scalars_event(time + 1, 1, {{"train/loss", 2.5f}, {"train/domain_share/web", 0.75f}})) +
         record(scalars_event(time + 2, 300, {{"train/loss", -1e-30f}})) +
         record(session_end_event(time + 3, SessionStatus::success));
}

TEST(EventFile, ChecksumsMatchPublishedVectors) {
  // TensorBoard's own test of its masked CRC.
  EXPECT_EQ(masked_crc32c("\x1a\x11"
                          "CRC test, one two"),
            0x5794d08au);
  // RFC 3720, B.4: 32 zeros have CRC-32C 0x8a9136aa.
  const std::uint32_t crc = 0x8a9136aau;
  EXPECT_EQ(masked_crc32c(std::string(32, '\0')), ((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

TEST(EventFile, FramesTheVersionRecord) {
  const std::string framed = record(version_event(0));
  EXPECT_EQ(hex(framed.substr(0, 12)),
            "1800000000000000"
            "a37f4b22");
}

TEST(EventFile, ScalarIsTheShortestForm) {
  EXPECT_EQ(hex(scalars_event(1.7e9, 7, {{"loss", 2.5f}})),
            "09"
            "00000040fc54d941"
            "1007"
            "2a0d"
            "0a0b"
            "0a04"
            "6c6f7373"
            "15"
            "00002040");
}

TEST(EventFile, EqualsTheGoldenFile) {
  if (std::getenv("CONCLAVE_WRITE_GOLDEN")) std::ofstream(GOLDEN_FILE, std::ios::binary) << golden_records();
  ASSERT_TRUE(std::filesystem::exists(GOLDEN_FILE));
  EXPECT_EQ(hex(golden_records()), hex(content(GOLDEN_FILE)));
}

struct Running {
  testkit::TemporaryDir directory;
  testkit::FakeHost host;
  std::shared_ptr<Monitor> monitor;
  RunInfo info;
  explicit Running(const Value& with = {}) {
    auto made = testkit::make<Monitor>(testkit::this_library("monitor/tensorboard"), host, with);
    if (!made.ok()) throw std::runtime_error(made.error().render());
    monitor = *made;
    info.directory = directory.path();
    info.total_steps = 10;
    info.settings = settings;
  }
  [[nodiscard]] std::vector<std::filesystem::path> files() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "tensorboard"))
      found.push_back(entry.path());
    return found;
  }
};

StepReport report_of(std::int64_t step) {
  StepReport report;
  report.step = step;
  report.metrics = {{"loss", "nats", 2.5, Reduction::mean, {}},
                    {"expert_load", "", 30, Reduction::sum, {{"layer", "3"}, {"expert", "0"}}},
                    {"expert_load", "", 10, Reduction::sum, {{"layer", "3"}, {"expert", "1"}}}};
  return report;
}

TEST(Tensorboard, WritesOneFileForEachAttempt) {
  Running run;
  ASSERT_TRUE(run.monitor->start(run.info).ok());
  for (std::int64_t step = 1; step <= 3; ++step) ASSERT_TRUE(run.monitor->step(report_of(step)).ok());
  EvaluationReport evaluation;
  evaluation.step = 3;
  evaluation.metrics = {{"eval_nll", "nats", 2.1, Reduction::mean, {{"domain", "web"}}}};
  ASSERT_TRUE(run.monitor->evaluation(evaluation).ok());
  ASSERT_TRUE(run.monitor->finish(0).ok());
  ASSERT_EQ(run.files().size(), 1u);
  const auto records = payloads(content(run.files()[0]));
  ASSERT_EQ(records.size(), 7u); // version, session start, 3 steps, evaluation, session end
  EXPECT_NE(records[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(records[1].find("_hparams_/session_start_info"), std::string::npos);
  EXPECT_NE(records[2].find("train/loss"), std::string::npos);
  EXPECT_NE(records[2].find("train/expert_load_max_ratio/3"), std::string::npos);
  EXPECT_EQ(records[2].find("train/expert_load/3/0"), std::string::npos);
  EXPECT_NE(records[5].find("evaluation/nll/web"), std::string::npos);
  EXPECT_NE(records[6].find("_hparams_/session_end_info"), std::string::npos);

  Running again;
  again.info.directory = run.info.directory;
  again.info.attempt = 1;
  again.info.first_step = 2;
  ASSERT_TRUE(again.monitor->start(again.info).ok());
  const auto files = run.files();
  ASSERT_EQ(files.size(), 2u);
  const auto resumed = payloads(content(std::max(files[0], files[1])));
  ASSERT_EQ(resumed.size(), 3u); // version, restart, session start
  EXPECT_EQ(hex(resumed[1]).substr(18),
            "1003"
            "3a020801"); // step 3, SessionLog {START}
}

TEST(Tensorboard, ThinsOutButKeepsTheLastStep) {
  Running run(testkit::map({{"every", 4}, {"hparams", false}, {"experts", true}}));
  ASSERT_TRUE(run.monitor->start(run.info).ok());
  for (std::int64_t step = 1; step <= 10; ++step) ASSERT_TRUE(run.monitor->step(report_of(step)).ok());
  ASSERT_TRUE(run.monitor->finish(0).ok());
  const auto records = payloads(content(run.files()[0]));
  ASSERT_EQ(records.size(), 4u); // version, 4, 8, 10
  EXPECT_NE(records[1].find("train/expert_load/3/0"), std::string::npos);
}

TEST(Tensorboard, NamesAFolderThatCannotBeMade) {
  Running run;
  run.directory.write("tensorboard", "a file");
  const Status status = run.monitor->start(run.info);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::storage);
}

} // namespace
} // namespace conclave
