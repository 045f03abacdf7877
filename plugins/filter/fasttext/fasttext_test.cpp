// Tests of filter/fasttext: labels and scores against fastText's Python module, thresholds, models that are none.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave {
namespace {

const std::string model = GOLDEN_FOLDER "/topics.bin";

Result<std::shared_ptr<Filter>> make(const Value& with) {
  static testkit::FakeHost host;
  return testkit::make<Filter>(testkit::this_library("filter/fasttext"), host, with);
}

std::string error_of(const Value& with) {
  const auto made = make(with);
  return made.ok() ? "none" : made.error().render();
}

/// {"cooking": score}
Value score(const std::string& label, double least) { return testkit::map({{label, least}}); }

TEST(FastText, ScoresAreThoseOfItsPythonModule) {
  std::ifstream file(GOLDEN_FOLDER "/predictions.json");
  const auto rows = nlohmann::json::parse(file);
  auto filter = make(testkit::map({{"model", model}}));
  ASSERT_TRUE(filter.ok()) << filter.error().render();
  std::vector<std::string> texts;
  for (const auto& row : rows) texts.push_back(row.at("text"));
  const auto columns = testkit::annotate(**filter, texts);
  EXPECT_TRUE(columns.complete());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto& labels = rows[i].at("labels");
    for (std::size_t rank = 0; rank < 5; ++rank)
      EXPECT_NEAR(columns.row(i).real(2 * rank + 1), labels.at(rank).at(1).get<double>(), 1e-6) << texts[i];
    // The best label by its name: just what reaches its score is kept.
    const std::string best = labels.at(0).at(0);
    const double found = labels.at(0).at(1);
    for (const double slack : {-1e-4, 1e-4}) {
      auto chooser = make(testkit::map({{"model", model}, {"keep", score(best, std::max(0.2, found + slack))}}));
      ASSERT_TRUE(chooser.ok()) << chooser.error().render();
      const bool kept = found >= std::max(0.2, found + slack);
      EXPECT_EQ(testkit::verdicts(**chooser, {texts[i]})[0], kept ? "" : "no-wanted-label") << texts[i];
    }
  }
}

TEST(FastText, DropsUnwantedLabels) {
  std::ifstream file(GOLDEN_FOLDER "/predictions.json");
  const auto rows = nlohmann::json::parse(file);
  const std::string best = rows.at(0).at("labels").at(0).at(0);
  auto filter = make(testkit::map({{"model", model}, {"drop", score(best, 0.5)}}));
  ASSERT_TRUE(filter.ok()) << filter.error().render();
  EXPECT_EQ(testkit::verdicts(**filter, {rows.at(0).at("text"), ""}), (std::vector<std::string>{"unwanted-label", ""}));
}

TEST(FastText, SaysWhatIsWrongWithAModelOrALabel) {
  EXPECT_NE(error_of(testkit::map({{"model", GOLDEN_FOLDER "/predictions.json"}})).find("no model of fastText"),
            std::string::npos);
  EXPECT_NE(error_of(testkit::map({{"model", GOLDEN_FOLDER "/absent.bin"}})).find("absent.bin"), std::string::npos);
  EXPECT_NE(error_of(testkit::map({{"model", model}, {"keep", score("cokking", 0.5)}})).find("no label 'cokking'"),
            std::string::npos);
  EXPECT_NE(error_of(testkit::map({{"model", model}, {"keep", score("cooking", 0.1)}})).find("too low"),
            std::string::npos);
}

TEST(FastText, ACutModelIsAnError) {
  std::ifstream file(model, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const std::string cut = testing::TempDir() + "cut.bin";
  std::ofstream(cut, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  EXPECT_NE(error_of(testkit::map({{"model", cut}})).find("cannot be read"), std::string::npos);
}

TEST(FastText, TheModelIsPartOfTheKey) {
  auto filter = make(testkit::map({{"model", model}}));
  ASSERT_TRUE(filter.ok());
  EXPECT_EQ((*filter)->inputs().size(), 16u);
  for (const OptionSpec& spec : testkit::this_library("filter/fasttext").options.specs())
    EXPECT_EQ(spec.affects, spec.name == "model" ? Affects::numerics : Affects::selection) << spec.name;
}

} // namespace
} // namespace conclave

// Debian's libfasttext.so has a main of its own, which the linker would take.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
