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
  std::int64_t length = 0;
  CollidingRow(std::uint64_t c, std::int64_t l) : check(c), length(l) {}
  double real(std::size_t) const override { return 0; }
  std::int64_t integer(std::size_t) const override { return length; }
  std::uint64_t bits(std::size_t column) const override { return column == 0 ? 7 : check; }
};

TEST(ExactDedup, ACollisionOfTheKeyDropsNothing) {
  testkit::FakeHost host;
  const auto filter = std::dynamic_pointer_cast<DedupFilter>(make(host));
  ASSERT_TRUE(filter);
  const CollidingRow rows[] = {{1, 10}, {2, 10}, {1, 11}, {2, 10}, {1, 10}};
  std::vector<DedupMember> group;
  for (const auto& row : rows) group.push_back({group.size(), 0, &row});
  std::vector<bool> drop(group.size());
  filter->resolve(group, drop);
  EXPECT_EQ(drop, (std::vector<bool>{false, false, false, true, true}));
}

TEST(ExactDedup, ScopeIsASelectionOption) {
  testkit::FakeHost host;
  const auto global = std::dynamic_pointer_cast<DedupFilter>(make(host));
  const auto domain = std::dynamic_pointer_cast<DedupFilter>(make(host, testkit::map({{"scope", "domain"}})));
  EXPECT_TRUE(global->across_domains());
  EXPECT_FALSE(domain->across_domains());
  EXPECT_EQ(testkit::this_library("filter/exact-dedup").options.find("scope")->affects, Affects::selection);
}

} // namespace
} // namespace conclave
