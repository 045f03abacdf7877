// Tests of filter/language on sentences of known languages (article 1 of the Universal Declaration of Human Rights).

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave {
namespace {

const std::string english =
    "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and "
    "should "
    "act towards one another in a spirit of brotherhood.";
const std::string german =
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und "
    "sollen "
    "einander im Geist der Brüderlichkeit begegnen.";
const std::string chinese = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。";
const std::string russian =
    "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны "
    "поступать в отношении друг друга в духе братства.";

std::vector<std::string> verdicts(const Value& with, const std::vector<std::string>& texts) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/language"), host, with);
  return made.ok() ? testkit::verdicts(**made, texts) : std::vector<std::string>{made.error().render()};
}

using Verdicts = std::vector<std::string>;

TEST(Language, KeepsTheLanguagesWanted) {
  EXPECT_EQ(verdicts(testkit::map({{"keep", testkit::list({"en", "zh-Hans"})}}), {english, german, chinese, russian}),
            (Verdicts{"", "other-language", "", "other-language"}));
  EXPECT_EQ(verdicts({}, {english, german, chinese, russian}), (Verdicts{"", "", "", ""}));
}

TEST(Language, OfNothingIsUnknown) {
  EXPECT_EQ(verdicts({}, {"", "12 34", "x"}), (Verdicts{"unknown-language", "unknown-language", "unknown-language"}));
  EXPECT_EQ(verdicts(testkit::map({{"unknown", true}}), {""}), (Verdicts{""}));
}

TEST(Language, MixedTextHasNone) {
  EXPECT_EQ(verdicts({}, {english + " " + german}), (Verdicts{"mixed-languages"}));
  EXPECT_EQ(verdicts(testkit::map({{"min_share", 0.4}}), {english + " " + german}), (Verdicts{""}));
}

TEST(Language, ThresholdsAreSelectionOptions) {
  for (const OptionSpec& spec : testkit::this_library("filter/language").options.specs())
    EXPECT_EQ(spec.affects, Affects::selection) << spec.name;
}

} // namespace
} // namespace conclave
