// The reports: JSON and CSV read back, the page's parts, the text's tables.

#include "compare/report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "conclave/testkit.hpp"
#include "unit/compare/planted.hpp"

namespace conclave::compare {
namespace {

using conclave::testing::plant;
using ::testing::HasSubstr;
using ::testing::Not;

Comparison two_groups(const testkit::TemporaryDir& root) {
  std::vector<std::filesystem::path> folders;
  for (const std::string k : {"1", "</script>\"2,"})
    for (const std::string seed : {"1", "2"})
      folders.push_back(plant(root, {.name = "k" + std::to_string(folders.size()),
                                     .seed = seed,
                                     .steps = 600,
                                     .held_out = 3 + static_cast<double>(folders.size()) / 100,
                                     .numerics = {{"model.with.k", k}}}));
  return std::move(*compare(folders, {}));
}

TEST(Report, JsonHasWhatTheComparisonHas) {
  const testkit::TemporaryDir root;
  const auto json = nlohmann::json::parse(to_json(two_groups(root)));
  EXPECT_EQ(json["schema"], 1);
  ASSERT_EQ(json["runs"].size(), 4u);
  EXPECT_EQ(json["runs"][2]["group"], "B");
  EXPECT_EQ(json["runs"][0]["held_out"]["nll"], 3.0);
  EXPECT_EQ(json["runs"][0]["domains"]["web"]["bits_per_byte"], 1.5);
  EXPECT_EQ(json["runs"][0]["tokens"], 60'000);
  EXPECT_EQ(json["runs"][0]["flops"], 60'000 * 300.0);
  EXPECT_EQ(json["runs"][0]["expert_imbalance"], 1.25);
  EXPECT_LE(json["runs"][0]["curve"]["nll"].size(), 256u);
  EXPECT_EQ(json["runs"][0]["curve"]["step"].back(), 600);
  EXPECT_EQ(json["verdicts"][0]["outcome"], "worse");
  EXPECT_NEAR(json["verdicts"][0]["test"]["difference"], 0.02, 1e-12);
  EXPECT_EQ(json["differences"][0]["key"], "model.with.k");
}

TEST(Report, CsvQuotesWhatNeedsIt) {
  const testkit::TemporaryDir root;
  const std::string csv = to_csv(two_groups(root));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5);
  EXPECT_THAT(csv, HasSubstr("\r\nB,\"k=</script>\"\"2,\",k2,1,finished,600,60000.0,"));
}

TEST(Report, TextHasTheTablesAndTheResult) {
  const testkit::TemporaryDir root;
  const std::string text = to_text(two_groups(root));
  EXPECT_THAT(text, HasSubstr("4 runs in 2 groups\n"));
  EXPECT_THAT(text, HasSubstr("\nA  k=1                 2  3.0050 ± 0.0071"));
  EXPECT_THAT(text, HasSubstr("      A: 1  (x.yaml:1:1)\n"));
  EXPECT_THAT(text, HasSubstr("      in every group: 2  (x.yaml:1:1)\n"));
  EXPECT_THAT(text, HasSubstr("\nResult\n  B worse than A by 0.0200 ± 0.0000 nats over 2 seeds (p < 0.0001"));
}

TEST(Report, ThePageIsOneFile) {
  if (!has_page()) GTEST_SKIP() << "this build has no plotting library (tools/bootstrap fetches it)";
  const testkit::TemporaryDir root;
  const std::string page = to_html(two_groups(root));
  EXPECT_THAT(page, HasSubstr("uPlot"));
  EXPECT_THAT(page, HasSubstr("id=\"curves-nll\""));
  EXPECT_THAT(page, Not(HasSubstr("id=\"curves-grad_norm\""))) << "nobody wrote it";
  for (const char* mark : {"/*DATA*/", "/*SCRIPT*/", "/*LIBRARY*/", "<!--CURVES-->", " src=", "<link"})
    EXPECT_THAT(page, Not(HasSubstr(mark)));
  EXPECT_THAT(page, Not(HasSubstr("</script>\"2,"))) << "a value ended the script";
  const std::string open = "id=\"data\">";
  const std::size_t begin = page.find(open) + open.size();
  const auto data = nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  EXPECT_EQ(data["runs"][0]["axes"]["tokens"]["n"], 600);
  EXPECT_EQ(data["runs"][0]["axes"]["tokens"]["knots"].size(), 257u); // straight
}

} // namespace
} // namespace conclave::compare
