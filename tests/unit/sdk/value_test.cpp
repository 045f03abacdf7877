// Value, Location, Diagnostics and nearest_name.

#include "conclave/value.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

Location at(const char* file, int line, int column) {
  return {std::make_shared<const std::string>(file), line, column};
}

TEST(Value, ADefaultOneIsNullWithoutALocation) {
  const Value value;
  EXPECT_TRUE(value.is_null());
  EXPECT_EQ(value.text(), "");
  EXPECT_TRUE(value.items().empty());
  EXPECT_TRUE(value.members().empty());
  EXPECT_EQ(value.find("x"), nullptr);
  EXPECT_EQ(value.where().render(), "");
}

TEST(Value, KeepsWhatItWasMadeOf) {
  const Value text = Value::scalar("010", at("f", 1, 2), true);
  EXPECT_TRUE(text.is_scalar());
  EXPECT_TRUE(text.quoted());
  EXPECT_EQ(text.where().render(), "f:1:2");
  const Value list = Value::list({text, Value::null()});
  EXPECT_EQ(list.items().size(), 2u);
  const Value map = Value::map({{"b", {}, list}, {"a", {}, text}});
  EXPECT_EQ(map.members()[0].key, "b") << "in the order written";
  ASSERT_NE(map.find("a"), nullptr);
  EXPECT_EQ(map.find("a")->text(), "010");
  EXPECT_EQ(map.find("c"), nullptr);
}

TEST(Diagnostics, RenderInTheOrderOfFilesAndLines) {
  Diagnostics diagnostics;
  diagnostics.error(at("b", 9, 1), "k", "w", "f");
  diagnostics.hint(at("a", 2, 1), "", "hinted");
  diagnostics.warning(at("b", 1, 5), "k", "warned");
  diagnostics.error({}, "", "bare");
  EXPECT_EQ(diagnostics.render(), "b:1:5: warning: k: warned\nb:9:1: k: w: f\na:2:1: hint: hinted\nbare\n");
  EXPECT_EQ(diagnostics.error_count(), 2u);
  EXPECT_EQ(diagnostics.all().size(), 4u);
  Diagnostics hints;
  hints.hint({}, "k", "w");
  EXPECT_FALSE(hints.has_errors());
}

TEST(Location, WithoutALineIsTheFile) { EXPECT_EQ(at("--set #2", 0, 0).render(), "--set #2"); }

TEST(NearestName, FindsTyposAndNothingElse) {
  const std::vector<std::string> names = {"weight_decay", "lr", "betas", "eps"};
  EXPECT_EQ(nearest_name("weight_decy", names), "weight_decay");
  EXPECT_EQ(nearest_name("wieght_decay", names), "weight_decay");
  EXPECT_EQ(nearest_name("rl", names), "lr") << "neighbours swapped count one";
  EXPECT_EQ(nearest_name("momentum", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
  EXPECT_EQ(nearest_name(std::string(100'000, 'a'), names), "") << "no quadratic work for nonsense";
}

} // namespace
} // namespace conclave
