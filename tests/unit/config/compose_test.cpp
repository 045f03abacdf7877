// Composition: extends, merging, `--set`, variables.

#include "config/compose.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using testing::Folder;

// Flow text of a tree, to compare trees in one line.
std::string text_of(const Value& value) {
  std::string text;
  switch (value.kind()) {
    case Value::Kind::null: return "null";
    case Value::Kind::scalar: return value.text();
    case Value::Kind::list:
      for (const Value& item : value.items()) text += (text.empty() ? "" : ", ") + text_of(item);
      return "[" + text + "]";
    case Value::Kind::map: break;
  }
  for (const Value::Member& member : value.members())
    text += (text.empty() ? "" : ", ") + member.key + ": " + text_of(member.value);
  return "{" + text + "}";
}

struct Composed {
  std::string tree, problems;
  std::optional<Composition> composition;
};
Composed composed(const Folder& folder, const std::string& file, const std::vector<std::string>& overrides = {}) {
  Diagnostics diagnostics;
  Composed result;
  result.composition = compose((folder.path() / file).string(), overrides, {"filters", "tokenizer"}, diagnostics);
  if (result.composition) result.tree = text_of(result.composition->tree);
  result.problems = testing::without_folder(diagnostics.render(), folder);
  return result;
}

TEST(Compose, MapsMergeNullDeletesListsReplace) {
  const Folder folder;
  folder.write("base/a.yaml", "train: {steps: 1, batch: 2, clip: 3}\nlist: [1, 2]\n");
  folder.write("x.yaml", "extends: base/a.yaml\ntrain: {steps: 5, clip: null}\nlist: [3]\n");
  const Composed result = composed(folder, "x.yaml");
  EXPECT_EQ(result.problems, "");
  EXPECT_EQ(result.tree, "{train: {steps: 5, batch: 2}, list: [3]}");
  ASSERT_EQ(result.composition->files.size(), 2u);
  EXPECT_TRUE(result.composition->files[0].ends_with("/x.yaml"));
  const auto& history = result.composition->history;
  EXPECT_EQ(history.at("train.steps")[0].value.text(), "1");
  EXPECT_EQ(history.at("train.clip")[0].why, "deleted");
}

TEST(Compose, LaterBasesGoOverEarlierAndASharedBaseCountsOnce) {
  const Folder folder;
  folder.write("root.yaml", "a: root\nb: root\nc: root\n");
  folder.write("l.yaml", "extends: root.yaml\na: l\nb: l\n");
  folder.write("r.yaml", "extends: [root.yaml]\nb: r\n");
  folder.write("x.yaml", "extends: [l.yaml, r.yaml]\n");
  EXPECT_EQ(composed(folder, "x.yaml").tree, "{a: l, b: r, c: root}");
}

TEST(Compose, NamesACircle) {
  const Folder folder;
  folder.write("a.yaml", "extends: b.yaml\n");
  folder.write("b.yaml", "extends: a.yaml\n");
  EXPECT_EQ(composed(folder, "a.yaml").problems,
            "b.yaml:1:10: extends: goes in a circle: a.yaml -> b.yaml -> a.yaml: remove one of them\n");
  folder.write("s.yaml", "extends: s.yaml\n");
  EXPECT_EQ(composed(folder, "s.yaml").problems,
            "s.yaml:1:10: extends: goes in a circle: s.yaml -> s.yaml: remove one of them\n");
}

TEST(Compose, NamesAMissingBaseAndReadsTheRest) {
  const Folder folder;
  folder.write("x.yaml", "extends: [none.yaml, bad.yaml, [1]]\n");
  folder.write("bad.yaml", "a: 1\na: 2\nb: [\n");
  EXPECT_EQ(composed(folder, "x.yaml").problems,
            "x.yaml:1:11: extends: there is no file none.yaml: a path here is relative to the file that names it\n"
            "x.yaml:1:32: extends: expected a path: write the path of a YAML file\n"
            "bad.yaml:2:1: a: the key stands here a second time: keep one; the first is in line 1\n"
            "bad.yaml:4:1: not YAML: end of sequence flow not found: see the line before, too: an open quote or "
            "bracket, or a wrong indentation\n");
}

TEST(Compose, SaysThatABaseIsAFolder) {
  const Folder folder;
  folder.write("base/a.yaml", "a: 1\n");
  folder.write("x.yaml", "extends: base\n");
  EXPECT_EQ(composed(folder, "x.yaml").problems, "x.yaml:1:10: extends: base is a folder: name a YAML file in it\n");
}

TEST(Compose, AppendAndPrependExtendLists) {
  const Folder folder;
  folder.write("a.yaml", "l: [1]\nm: [1]\n");
  folder.write("x.yaml", "extends: a.yaml\nl: !append [2, 3]\nm: !prepend [0]\nn: !append [9]\n");
  EXPECT_EQ(composed(folder, "x.yaml").tree, "{l: [1, 2, 3], m: [0, 1], n: [9]}");
  folder.write("y.yaml", "l: 5\n");
  folder.write("z.yaml", "extends: y.yaml\nl: !append [1]\n");
  EXPECT_EQ(composed(folder, "z.yaml").problems,
            "z.yaml:2:4: l: !append needs a list below it: the value at "
            "y.yaml:1:4 is none\n");
  EXPECT_EQ(composed(folder, "a.yaml", {"l=!append [{use: x}]", "m=!prepend [0]", "n=!append [9]"}).tree,
            "{l: [1, {use: x}], m: [0, 1], n: [9]}");
  EXPECT_EQ(composed(folder, "a.yaml", {"l=!appendix"}).tree, "{l: !appendix, m: [1]}");
}

TEST(Compose, ANewPluginDropsTheOptionsOfTheOld) {
  const Folder folder;
  folder.write("a.yaml", "optimizer: {use: optimizer/adamw, with: {lr: 1, betas: [0, 1]}}\n");
  folder.write("x.yaml", "extends: a.yaml\noptimizer: {use: optimizer/sgd, with: {lr: 2}}\n");
  folder.write("same.yaml", "extends: a.yaml\noptimizer: {use: optimizer/adamw, with: {lr: 2}}\n");
  const Composed result = composed(folder, "x.yaml");
  EXPECT_EQ(result.tree, "{optimizer: {use: optimizer/sgd, with: {lr: 2}}}");
  EXPECT_EQ(result.composition->history.at("optimizer.with.betas")[0].why,
            "dropped, since use changed from optimizer/adamw");
  EXPECT_EQ(composed(folder, "same.yaml").tree, "{optimizer: {use: optimizer/adamw, with: {lr: 2, betas: [0, 1]}}}");
}

TEST(Compose, OverridesReachListItemsByNameAndNumber) {
  const Folder folder;
  folder.write("x.yaml",
               "data: {filters: [{use: filter/simhash, with: {distance: 3}}, {use: filter/q, name: quality}]}\nbetas: "
               "[0.9, 0.98]\n");
  EXPECT_EQ(composed(folder, "x.yaml", {"data.filters.simhash.with.distance=4", "betas.1=0.95"}).tree,
            "{data: {filters: [{use: filter/simhash, with: {distance: 4}}, {use: filter/q, name: quality}]}, betas: "
            "[0.9, 0.95]}");
  // The data section may be left out, and null deletes an item.
  EXPECT_EQ(composed(folder, "x.yaml", {"filters.quality=null", "filters.simhash.with.distance=5", "betas=null"}).tree,
            "{data: {filters: [{use: filter/simhash, with: {distance: 5}}]}}");
  EXPECT_EQ(composed(folder, "x.yaml", {"filters.simhsh.with.distance=4"}).problems,
            "--set #1: data.filters.simhsh: the list has no item of that name: did you mean simhash?\n");
}

TEST(Compose, OverrideValuesAreTextUnlessTheyOpenYaml) {
  const Folder folder;
  folder.write("x.yaml", "a: 1\n");
  EXPECT_EQ(composed(folder, "x.yaml", {"a=*.txt", "b=x: y", "c=[1, {d: 2}]", "e=\"q\"", "f=x=y"}).tree,
            "{a: *.txt, b: x: y, c: [1, {d: 2}], e: q, f: x=y}");
  EXPECT_EQ(composed(folder, "x.yaml", {"a=[1"}).problems.substr(0, 22), "--set #1:1:1: not YAML");
  EXPECT_EQ(composed(folder, "x.yaml", {"extends=y.yaml"}).problems,
            "--set #1: extends: cannot be set on the command line: write it in the file\n");
  EXPECT_EQ(composed(folder, "x.yaml", {"a..b=1"}).problems,
            "--set #1: 'a..b=1' is not an override: write --set section.key=value\n");
}

TEST(Compose, VariablesComeLastAndMayBeOfAnyKind) {
  const Folder folder;
  folder.write("a.yaml",
               "vars: {root: /data, n: 5, list: [1, 2], both: \"${root}/x\"}\npath: \"${both}/a.txt\"\nn: \"${n}\"\nl: "
               "${list}\n");
  folder.write("x.yaml", "extends: a.yaml\nvars: {root: /other}\n");
  const Composed result = composed(folder, "x.yaml");
  EXPECT_EQ(result.problems, "");
  EXPECT_EQ(result.tree, "{path: /other/x/a.txt, n: 5, l: [1, 2]}");
  EXPECT_FALSE(result.composition->tree.find("n")->quoted()); // the variable's kind, not the reference's
  EXPECT_EQ(composed(folder, "x.yaml", {"vars.root=/third"}).tree, "{path: /third/x/a.txt, n: 5, l: [1, 2]}");
}

TEST(Compose, AVariableWhoseUserWasReplacedIsNoMistake) {
  const Folder folder;
  folder.write("x.yaml", "vars: {steps: 5, root: /d, idle: 1}\nsteps: ${steps}\npaths: [\"${root}/a\"]\n");
  const std::string idle = "x.yaml:1:28: warning: vars.idle: is never used: remove it, or write ${idle}\n";
  EXPECT_EQ(composed(folder, "x.yaml").problems, idle);
  EXPECT_EQ(composed(folder, "x.yaml", {"steps=40", "paths=[b]"}).problems, idle);
  EXPECT_EQ(composed(folder, "x.yaml", {"vars.stesp=40", "vars.idle=null"}).problems,
            "--set #1: warning: vars.stesp: is never used: did you mean vars.steps?\n");
}

TEST(Compose, ReadsTheEnvironment) {
  const Folder folder;
  ::setenv("CONCLAVE_TEST_VARIABLE", "v", 1);
  folder.write("x.yaml", "a: ${env:CONCLAVE_TEST_VARIABLE}/b\nc: $${env:X}\n");
  EXPECT_EQ(composed(folder, "x.yaml").tree, "{a: v/b, c: ${env:X}}");
  folder.write("y.yaml", "a: ${env:CONCLAVE_TEST_UNSET}\n");
  EXPECT_EQ(composed(folder, "y.yaml").problems,
            "y.yaml:1:4: a: the environment variable 'CONCLAVE_TEST_UNSET' is not set: export it before the run\n");
}

TEST(Compose, RefusesCirclesAndBombsOfVariables) {
  const Folder folder;
  folder.write("x.yaml", "vars: {a: \"${b}\", b: \"${a}\"}\nc: ${a}\n");
  EXPECT_EQ(composed(folder, "x.yaml").problems,
            "x.yaml:1:22: vars.b: the variable 'a' is defined by itself: break the circle\n");
  std::string bomb = "vars:\n  v0: xxxxxxxxxx\n", lists = "vars:\n  v0: [x, x]\n";
  for (int i = 1; i < 40; ++i) {
    const std::string name = "v" + std::to_string(i), before = "${v" + std::to_string(i - 1) + "}";
    bomb += "  " + name + ": \"" + before + before + "\"\n";
    lists += "  " + name + ": [\"" + before + "\", \"" + before + "\"]\n";
  }
  folder.write("bomb.yaml", bomb + "a: ${v39}\n");
  folder.write("lists.yaml", lists + "a: ${v39}\n");
  EXPECT_NE(composed(folder, "bomb.yaml").problems.find("the variables expand to too much"), std::string::npos);
  EXPECT_NE(composed(folder, "lists.yaml").problems.find("the variables expand to too much"), std::string::npos);
}

} // namespace
} // namespace conclave
