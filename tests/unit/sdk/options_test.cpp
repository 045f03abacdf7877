// OptionTable: binding, defaults, errors, groups, children and rendering.

#include "conclave/options.hpp"

#include <gtest/gtest.h>

#include "conclave/scheduler.hpp"

namespace conclave {
namespace {

enum class Colour { red, green };
struct Inner {
  double scale = 2;
  Child<Scheduler> nested;
};
struct Options {
  double lr = 1e-4;
  std::vector<double> betas = {0.9, 0.98};
  std::map<std::string, Count> limits;
  std::optional<int> top;
  Colour colour = Colour::green;
  std::string name;
  Inner inner;
  Child<Scheduler> child;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("lr", &Options::lr)
      .above(0)
      .doc("Peak.")
      .deprecated_alias("learning_rate")
      .opt("betas", &Options::betas)
      .length(2)
      .range(0, 1)
      .opt("limits", &Options::limits)
      .at_least(1)
      .opt("top", &Options::top)
      .range(1, 9)
      .choice("colour", &Options::colour, {{"red", Colour::red}, {"green", Colour::green}})
      .opt("name", &Options::name)
      .required()
      .affects(Affects::naming)
      .group("inner", &Options::inner,
             OptionTableBuilder<Inner>().opt("scale", &Inner::scale).plugin("nested", &Inner::nested).build())
      .plugin("child", &Options::child)
      .validate([](const Options& o, OptionReport& report) {
        if (o.betas[0] > o.betas[1]) report.error("betas[0]", "is above the second", "swap them");
        if (o.inner.scale == 13) report.hint("inner.scale", "is unlucky");
      })
      .build();
}

Location at(int line) { return {std::make_shared<const std::string>("f"), line, 1}; }
Value::Member member(const char* key, Value value, int line = 1) { return {key, at(line), std::move(value)}; }
Value text(const char* value, int line = 1) { return Value::scalar(value, at(line)); }

struct Bound {
  Options options;
  std::string problems;
  std::vector<ChildRequest> children;
};
Bound bind(std::vector<Value::Member> members) {
  Bound bound;
  Diagnostics diagnostics;
  table().bind(Value::map(std::move(members), at(1)), "p", {}, &bound.options, diagnostics, bound.children);
  bound.problems = diagnostics.render();
  return bound;
}

TEST(OptionTable, DefaultsStandInTheStruct) {
  const OptionTable t = table();
  EXPECT_EQ(t.find("lr")->default_text, "1e-4");
  EXPECT_EQ(t.find("betas")->default_text, "[0.9, 0.98]");
  EXPECT_EQ(t.find("colour")->default_text, "green");
  EXPECT_EQ(t.find("top")->default_text, "null");
  EXPECT_EQ(t.find("name")->default_text, "") << "required";
  EXPECT_EQ(t.find("none"), nullptr);
  const auto made = std::static_pointer_cast<Options>(t.make());
  EXPECT_EQ(made->lr, 1e-4);
}

TEST(OptionTable, BindsEveryKind) {
  const Bound bound = bind({member("lr", text("0.5")), member("betas", Value::list({text("0.1"), text("0.2")})),
                            member("limits", Value::map({member("a", text("2k"))})), member("top", text("3")),
                            member("colour", text("red")), member("name", text("n")),
                            member("inner", Value::map({member("scale", text("4"))}))});
  EXPECT_EQ(bound.problems, "");
  EXPECT_EQ(bound.options.lr, 0.5);
  EXPECT_EQ(bound.options.betas, (std::vector<double>{0.1, 0.2}));
  EXPECT_EQ(bound.options.limits.at("a"), 2000);
  EXPECT_EQ(bound.options.top, 3);
  EXPECT_EQ(bound.options.colour, Colour::red);
  EXPECT_EQ(bound.options.inner.scale, 4);
}

TEST(OptionTable, ReportsEverythingAtOnce) {
  const Bound bound = bind({member("lrr", text("1", 2), 2), member("lr", text("0", 3)),
                            member("betas", Value::list({text("x", 4)}, at(4))), member("colour", text("gren", 5)),
                            member("zzz", text("1", 6), 6), member("limits", text("1", 7))});
  EXPECT_EQ(bound.problems,
            "f:1:1: p.name: is required and missing: add it (text)\n"
            "f:2:1: p.lrr: unknown option: did you mean lr? (number above 0, default 1e-4)\n"
            "f:3:1: p.lr: '0' is out of range: give a value above 0\n"
            "f:4:1: p.betas[0]: expected a number, found 'x': write a number such as 1e-4\n"
            "f:4:1: p.betas: expected 2 values, found 1\n"
            "f:5:1: p.colour: expected one of red, green, found 'gren': did you mean green?\n"
            "f:6:1: p.zzz: unknown option: the options here are lr, betas, limits, top, colour, name, inner, child\n"
            "f:7:1: p.limits: expected a map, found '1': write {key: value, ...}\n");
  EXPECT_EQ(bound.options.lr, 1e-4) << "what is wrong leaves the default";
}

TEST(OptionTable, ValidateRunsWhenAllElseIsRightAndIsLocated) {
  const Bound crossed =
      bind({member("name", text("n")), member("betas", Value::list({text("0.9", 3), text("0.1", 4)}, at(3)), 2),
            member("inner", Value::map({member("scale", text("13", 8), 8)}, at(7)), 7)});
  EXPECT_EQ(crossed.problems,
            "f:3:1: p.betas[0]: is above the second: swap them\nf:8:1: hint: p.inner.scale: is unlucky\n");
  const Bound broken = bind({member("betas", Value::list({text("0.9"), text("0.1")}))});
  EXPECT_EQ(broken.problems, "f:1:1: p.name: is required and missing: add it (text)\n");
}

TEST(OptionTable, NullIsForOptionalOnesOnly) {
  const Bound bound =
      bind({member("name", text("n")), member("top", Value::null(at(2))), member("lr", Value::null(at(3)), 3)});
  EXPECT_EQ(bound.problems, "f:3:1: p.lr: has no value: write one (number), or remove the key to get the default\n");
  EXPECT_FALSE(bound.options.top.has_value());
}

// What composition leaves of a null that found nothing to delete: no location.
TEST(OptionTable, ANullWithoutALocationDeletesNothing) {
  const Bound bound = bind({member("name", text("n")), member("lr", Value::null()), member("inner", Value::null()),
                            member("limits", Value::map({member("a", Value::null()), member("b", text("2"))}))});
  EXPECT_EQ(bound.problems, "");
  EXPECT_EQ(bound.options.limits.size(), 1u);
  EXPECT_EQ(bind({member("name", text("n")), member("lrr", Value::null(), 2)}).problems,
            "f:2:1: p.lrr: unknown option: did you mean lr? (number above 0, default 1e-4)\n");
  EXPECT_EQ(bind({member("name", Value::null())}).problems, "f:1:1: p.name: is required and missing: add it (text)\n");
}

TEST(OptionTable, WhatIsMissingFromAnIncompleteTreeIsNoError) {
  Options options;
  Diagnostics diagnostics;
  std::vector<ChildRequest> children;
  const Value tree =
      Value::map({member("betas", Value::list({text("0.9"), text("0.1")})),
                  member("child", Value::map({member("with", Value::map({}))})), member("lrr", text("1"), 4)},
                 at(1));
  table().bind(tree, "p", {"/", true}, &options, diagnostics, children);
  EXPECT_EQ(diagnostics.render(), "f:4:1: p.lrr: unknown option: did you mean lr? (number above 0, default 1e-4)\n");
}

TEST(OptionTable, ARequiredPluginIsNeverNull) {
  struct Outer {
    Child<Scheduler> child;
  };
  const OptionTable outer = OptionTableBuilder<Outer>().plugin("child", &Outer::child).required().build();
  Outer options;
  Diagnostics diagnostics;
  std::vector<ChildRequest> children;
  outer.bind(Value::map({member("child", Value::null(at(2)), 2)}), "p", {}, &options, diagnostics, children);
  EXPECT_EQ(diagnostics.render(), "f:2:1: p.child: has no value: write one (plugin)\n");
  EXPECT_FALSE(outer.find("child")->optional);
}

TEST(OptionTable, ANestedBlockHasNoName) {
  const Value block =
      Value::map({member("use", text("scheduler/a")), member("name", text("x", 3), 3), member("wth", text("y", 4), 4)});
  const Bound bound = bind({member("name", text("n")), member("child", block)});
  EXPECT_EQ(bound.problems,
            "f:3:1: p.child.name: only the items of a list have a name: remove it: this block is known as p.child\n"
            "f:4:1: p.child.wth: unknown key of a plugin block: did you mean with?\n");
  EXPECT_EQ(bound.children.size(), 1u) << "its options are still bound: all errors at once";
}

TEST(OptionTable, OldNamesWorkAndWarn) {
  const Bound bound = bind({member("name", text("n")), member("learning_rate", text("0.5", 2), 2)});
  EXPECT_EQ(bound.problems, "f:2:1: warning: p.learning_rate: is an old name: write lr\n");
  EXPECT_EQ(bound.options.lr, 0.5);
  EXPECT_EQ(
      bind({member("name", text("n")), member("lr", text("1")), member("learning_rate", text("1", 2), 2)}).problems,
      "f:2:1: warning: p.learning_rate: is an old name: write lr\nf:2:1: p.learning_rate: sets lr a second time: "
      "remove one of the two\n");
}

TEST(OptionTable, ChildrenAreRequestsThatAssignIntoTheOuterObject) {
  class Flat final : public Scheduler {
   public:
    double learning_rate(std::int64_t, const ScheduleExtent& extent) const override { return extent.peak; }
  };
  const auto block = [](const char* use) {
    return Value::map({member("use", text(use)), member("with", Value::map({member("a", text("1"))}))});
  };
  Bound bound = bind({member("name", text("n")), member("child", block("scheduler/a")),
                      member("inner", Value::map({member("nested", block("scheduler/b"))}))});
  EXPECT_EQ(bound.problems, "");
  ASSERT_EQ(bound.children.size(), 2u);
  EXPECT_EQ(bound.children[0].id, "scheduler/a");
  EXPECT_EQ(bound.children[0].key, "p.child");
  EXPECT_EQ(bound.children[1].key, "p.inner.nested");
  EXPECT_EQ(bound.children[1].with.find("a")->text(), "1");
  const auto first = std::make_shared<Flat>(), second = std::make_shared<Flat>();
  bound.children[0].assign(&bound.options, first);
  bound.children[1].assign(&bound.options, second);
  EXPECT_EQ(bound.options.child.plugin, first);
  EXPECT_EQ(bound.options.inner.nested.plugin, second) << "lifted through the group";
  EXPECT_EQ(bind({member("name", text("n")), member("child", text("scheduler/a", 2))}).problems,
            "f:2:1: p.child: expected a scheduler block, found 'scheduler/a': write {use: scheduler/a}\n");
}

TEST(OptionTable, RendersWhatWasBound) {
  const Bound bound = bind({member("name", text("true")), member("limits", Value::map({member("a b", text("2k"))})),
                            member("colour", text("red"))});
  const OptionTable t = table();
  EXPECT_EQ(t.render(&bound.options, "name"), "\"true\"");
  EXPECT_EQ(t.render(&bound.options, "limits"), "{\"a b\": 2000}");
  EXPECT_EQ(t.render(&bound.options, "colour"), "red");
  EXPECT_EQ(t.render(&bound.options, "inner"), "{scale: 2, nested: }");
  EXPECT_EQ(t.render(&bound.options).size(), t.specs().size());
}

TEST(OptionTable, OneWithoutOptionsTakesNone) {
  const OptionTable empty;
  Diagnostics diagnostics;
  std::vector<ChildRequest> children;
  empty.bind(Value::null(), "p", {}, nullptr, diagnostics, children);
  EXPECT_EQ(diagnostics.render(), "");
  empty.bind(Value::map({member("a", text("1"))}), "p", {}, nullptr, diagnostics, children);
  EXPECT_EQ(diagnostics.render(), "f:1:1: p.a: unknown option: there are no options here: remove it\n");
}

} // namespace
} // namespace conclave
