// Tests of filter/exact-dedup.

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave {
namespace {

using Verdicts = std::vector<std::string>;

std::shared_ptr<Filter> make(testkit::FakeHost& host, const Value& with = {}) {
  auto made = testkit::make<Filter>(testkit::this_library("filter/exact-dedup"), host, with);
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return std::move(made).value();
}

TEST(ExactDedup, KeepsTheFirstOfEqualTexts) {
  testkit::FakeHost host;
  EXPECT_EQ(testkit::verdicts(*make(host), {"a b", "c", "a b", " a\n\tb ", "A b", ""}),
            (Verdicts{"", "", "exact-duplicate", "exact-duplicate", "", ""}));
}

TEST(ExactDedup, NormalisationDecidesWhatIsEqual) {
  testkit::FakeHost host;
  EXPECT_EQ(testkit::verdicts(*make(host, testkit::map({{"normalise", "none"}})), {"a b", "a  b", "a b"}),
            (Verdicts{"", "", "exact-duplicate"}));
  EXPECT_EQ(testkit::verdicts(*make(host, testkit::map({{"normalise", "words"}})), {"Ä, b!", "ä b", "äb"}),
            (Verdicts{"", "exact-duplicate", ""}));
}

/// A row whose key collides with every other one.
struct CollidingRow final : ColumnRow {
  std::uint64_t check = 0;
  explicit CollidingRow(std::uint64_t c) : check(c) {}
  double real(std::size_t) const override { return 0; }
  std::int64_t integer(std::size_t) const override { return 0; }
  std::uint64_t bits(std::size_t column) const override { return column == 0 ? 7 : check; }
};

TEST(ExactDedup, ACollisionOfTheKeyDropsNothing) {
  testkit::FakeHost host;
  const auto filter = std::dynamic_pointer_cast<DedupFilter>(make(host));
  ASSERT_TRUE(filter);
  std::vector<DedupKey> keys;
  for (const std::uint64_t check : {1, 2, 1}) filter->keys(CollidingRow(check), keys);
  EXPECT_EQ(keys, (std::vector<DedupKey>{{7, 1}, {7, 2}, {7, 1}}));
  EXPECT_FALSE(filter->same(1, 2));
}

TEST(ExactDedup, ScopeIsASelectionOption) {
  testkit::FakeHost host;
  const auto scope = [&](const Value& with) {
    return std::dynamic_pointer_cast<DedupFilter>(make(host, with))->scope();
  };
  EXPECT_EQ(scope({}).within, DedupScope::Within::corpus);
  EXPECT_EQ(scope(testkit::map({{"scope", "domain"}})).within, DedupScope::Within::domain);
  EXPECT_EQ(scope(testkit::map({{"scope", "dump"}, {"dump", "CC-[0-9]+"}})).dump, "CC-[0-9]+");
  const OptionTable& table = testkit::this_library("filter/exact-dedup").options;
  for (const char* name : {"scope", "dump"}) EXPECT_EQ(table.find(name)->affects, Affects::selection);
}

TEST(ExactDedup, ADumpGoesWithItsScope) {
  const OptionTable& table = testkit::this_library("filter/exact-dedup").options;
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"scope", "dump"}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"dump", "CC"}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"scope", "dump"}, {"dump", "CC-["}})).ok());
}

} // namespace
} // namespace conclave
