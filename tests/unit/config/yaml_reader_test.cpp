// The YAML reader: what it accepts, what it refuses with which words, and its limits.

#include "config/yaml_reader.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

std::string problems(const std::string& text, const YamlLimits& limits = {}) {
  Diagnostics diagnostics;
  parse_yaml(text, "f.yaml", diagnostics, limits);
  return diagnostics.render();
}

TEST(YamlReader, KeepsRawTextQuotesAndLocations) {
  Diagnostics diagnostics;
  const auto tree = parse_yaml("a: 010\nb:\n  - 'yes'\n  - ~\nc: {d: 1e-4}\n", "f.yaml", diagnostics);
  ASSERT_TRUE(tree.has_value());
  EXPECT_EQ(diagnostics.render(), "");
  EXPECT_EQ(tree->find("a")->text(), "010");
  EXPECT_FALSE(tree->find("a")->quoted());
  EXPECT_EQ(tree->find("a")->where().render(), "f.yaml:1:4");
  EXPECT_EQ(tree->find("b")->items()[0].text(), "yes");
  EXPECT_TRUE(tree->find("b")->items()[0].quoted());
  EXPECT_TRUE(tree->find("b")->items()[1].is_null());
  EXPECT_EQ(tree->find("c")->find("d")->where().render(), "f.yaml:5:8");
  EXPECT_EQ(tree->members()[2].key_where.render(), "f.yaml:5:1");
}

TEST(YamlReader, ColumnsCountCharactersNotBytes) {
  Diagnostics diagnostics;
  const auto tree = parse_yaml("{\"\xC3\xA4\xC3\xB6\": 1, b: 2}\n", "f.yaml", diagnostics);
  ASSERT_TRUE(tree.has_value());
  EXPECT_EQ(tree->find("b")->where().column, 14);
}

TEST(YamlReader, ReadsListTagsAsOneKeyMaps) {
  Diagnostics diagnostics;
  const auto tree = parse_yaml("a: !append [1]\nb: !prepend [2]\n", "f.yaml", diagnostics);
  ASSERT_TRUE(tree.has_value());
  EXPECT_EQ(tree->find("a")->find("!append")->items()[0].text(), "1");
  EXPECT_EQ(tree->find("b")->find("!prepend")->items()[0].text(), "2");
}

struct Refusal {
  const char* name;
  std::string text, expected;
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }
class YamlRefusals : public ::testing::TestWithParam<Refusal> {};
TEST_P(YamlRefusals, SaysWhereWhatAndWhatToDo) { EXPECT_EQ(problems(GetParam().text), GetParam().expected); }
INSTANTIATE_TEST_SUITE_P(
    All, YamlRefusals,
    ::testing::Values(
        Refusal{"duplicate", "a: 1\nb: 2\na: 3\n",
                "f.yaml:3:1: a: the key stands here a second time: keep one; the first is in line 1\n"},
        Refusal{"alias", "a: &x 1\nb: *x\n",
                "f.yaml:1:4: an anchor (&) is not allowed in an experiment: use vars: and ${name}, or extends:\n"
                "f.yaml:2:4: an alias (*) is not allowed in an experiment: use vars: and ${name}, or extends:\n"},
        Refusal{"merge", "a:\n  <<: {b: 1}\n", "f.yaml:2:3: the merge key << is not allowed: use extends:\n"},
        Refusal{"tag", "a: !!int 3\n",
                "f.yaml:1:4: the tag 'tag:yaml.org,2002:int' is not allowed: remove it; the known ones are !append and "
                "!prepend before a list\n"},
        Refusal{"tagged_map", "a: !append {b: 1}\n",
                "f.yaml:1:4: the tag '!append' is not allowed: remove it; the known ones are !append and !prepend "
                "before a list\n"},
        Refusal{"second", "a: 1\n---\nb: 2\n",
                "f.yaml: holds more than one YAML document (---): keep one document in a file\n"},
        Refusal{"empty", "",
                "f.yaml:1:1: there is nothing in this file: write an experiment; `conclave: 1` is its first line\n"},
        Refusal{"tab", "a:\n\tb: 1\n", "f.yaml:2:1: a tab is used as indentation: indent with spaces\n"},
        Refusal{"utf8", "a: b\xFF\n", "f.yaml:1:5: a byte is not UTF-8: save the file as UTF-8\n"},
        Refusal{"surrogate", "a: \xED\xA0\x80\n", "f.yaml:1:4: a byte is not UTF-8: save the file as UTF-8\n"},
        Refusal{"overlong", "a: \xC0\xAF\n", "f.yaml:1:4: a byte is not UTF-8: save the file as UTF-8\n"},
        Refusal{"control", std::string("a: b\0c\n", 7),
                "f.yaml:1:5: a control character stands in the file: remove it\n"},
        Refusal{"list_key", "[1, 2]: 3\n", "f.yaml:1:1: a key is not text: write `key: value`\n"},
        Refusal{"open", "a: [1, 2\n",
                "f.yaml:2:1: not YAML: end of sequence flow not found: see the line before, too: an open quote or "
                "bracket, or a wrong indentation\n"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(YamlReader, RefusesWhatIsBeyondItsLimits) {
  EXPECT_EQ(problems(std::string((1 << 20) + 1, 'a')),
            "f.yaml: larger than 1048576 bytes: an experiment is a small file; is this the right one?\n");
  EXPECT_EQ(problems("a: " + std::string((64 << 10) + 1, 'x') + "\n"),
            "f.yaml:1:4: a value is longer than 65536 bytes: put long text into a file of its own\n");
  EXPECT_EQ(problems("a: " + std::string(64 << 10, 'x') + "\n"), "");
  EXPECT_EQ(problems("x: " + std::string(64, '[') + std::string(64, ']') + "\n"),
            "f.yaml:1:67: nested more than 64 levels deep: make it flatter\n");
  EXPECT_EQ(problems("x: " + std::string(63, '[') + std::string(63, ']') + "\n"), "");
  std::string many = "a: [";
  for (int i = 0; i < 100'001; ++i) many += "1,";
  EXPECT_NE(problems(many + "]\n").find("more than 100000 values: make the file smaller"), std::string::npos);
}

TEST(YamlReader, OpenBracketsWithoutEndAreRefusedAtOnce) {
  // Deep nesting that is never closed must meet the depth limit, not the stack's end.
  EXPECT_NE(problems(std::string(500'000, '[')).find("levels deep"), std::string::npos);
  EXPECT_NE(problems(std::string(500'000, '{')).find("levels deep"), std::string::npos);
  std::string dashes;
  for (int i = 0; i < 100'000; ++i) dashes += "- ";
  EXPECT_NE(problems(dashes).find("levels deep"), std::string::npos);
}

TEST(YamlReader, StopsAfterManyErrors) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "a: 1\n";
  Diagnostics diagnostics;
  EXPECT_FALSE(parse_yaml(text, "f.yaml", diagnostics).has_value());
  EXPECT_EQ(diagnostics.error_count(), 50u);
}

TEST(YamlReader, AliasBombIsRefusedWithoutExpanding) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before + "," + before + "," + before + "]\n";
  }
  EXPECT_NE(problems(text).find("an alias (*) is not allowed"), std::string::npos);
}

TEST(YamlReader, NamesAFileThatCannotBeRead) {
  Diagnostics diagnostics;
  EXPECT_FALSE(read_yaml("/nonexistent/x.yaml", diagnostics).has_value());
  EXPECT_EQ(diagnostics.render(), "/nonexistent/x.yaml: there is no such file: check the path\n");
  Diagnostics folder;
  EXPECT_FALSE(read_yaml("/tmp", folder).has_value());
  EXPECT_EQ(folder.render(), "/tmp: is a folder: name a YAML file in it\n");
}

} // namespace
} // namespace conclave
