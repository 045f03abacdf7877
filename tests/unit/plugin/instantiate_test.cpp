// A bound block becomes an instance; every failure names the block, the id and the library.

#include "run/instantiate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conclave/scheduler.hpp"
#include "conclave/testkit.hpp"
#include "plugin/library.hpp"

namespace conclave {
namespace {

using testing::HasSubstr;

struct HalfOptions {
  Child<Scheduler> inner;
};

/// Halves the rate of a nested scheduler.
class Half final : public Scheduler {
 public:
  Half(HostContext&, const HalfOptions& options) : options_(options) {}
  [[nodiscard]] double learning_rate(std::int64_t step, const ScheduleExtent& extent) const override {
    return options_.inner->learning_rate(step, extent) / 2;
  }

 private:
  const HalfOptions& options_; // instantiate() promises that options live as long as the instance
};

PluginDescriptor half() {
  return describe_plugin<Half, HalfOptions>(
      {"scheduler/half", "1.0", 1, "Half.", "MIT"},
      OptionTableBuilder<HalfOptions>().plugin("inner", &HalfOptions::inner).build());
}

std::unique_ptr<const PluginDescriptors> open(const std::string& name) {
  auto opened = open_library(std::string(CONCLAVE_FAULT_PLUGINS) + "/" + name + ".so");
  if (!opened.ok()) throw std::runtime_error(opened.error().render());
  return std::move(opened).value();
}

PluginBlock block_of(const PluginDescriptor& descriptor, const Value& with = {}) {
  PluginBlock block;
  block.id = descriptor.info.id;
  block.name = "it";
  block.key = "scheduler";
  block.where = {std::make_shared<const std::string>("run.yaml"), 7, 3};
  block.descriptor = &descriptor;
  auto bound = testkit::bind_options(descriptor.options, with);
  block.options = bound.options;
  for (ChildRequest& request : bound.children) block.children.push_back({std::move(request), {}});
  return block;
}

class Instantiate : public testing::Test {
 protected:
  testkit::FakeHost host;
  HostContextFactory contexts = [this](const PluginBlock&) -> HostContext& { return host; };
};

TEST_F(Instantiate, BuildsChildrenFirstAndKeepsTheOptionsAlive) {
  const auto good = open("scheduler-good");
  const PluginDescriptor outer = half();
  PluginBlock block = block_of(outer, testkit::map({{"inner", testkit::map({{"use", "scheduler/good"}})}}));
  ASSERT_EQ(block.children.size(), 1u);
  block.children[0].block = block_of(good->front(), testkit::map({{"factor", 0.5}}));
  auto first = instantiate<Scheduler>(block, contexts);
  auto second = instantiate<Scheduler>(block, contexts);
  ASSERT_TRUE(first.ok()) << first.error().render();
  ASSERT_TRUE(second.ok());
  block = {};
  EXPECT_DOUBLE_EQ((*first)->learning_rate(0, {1, 4.0}), 1.0);
  *first = nullptr;
  EXPECT_DOUBLE_EQ((*second)->learning_rate(0, {1, 4.0}), 1.0);
}

TEST_F(Instantiate, AThrowingConstructorIsNamedWithBlockAndLibrary) {
  const auto library = open("scheduler-throwing-constructor");
  const auto made = instantiate<Scheduler>(block_of(library->front()), contexts);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::internal);
  EXPECT_EQ(made.error().where, "run.yaml:7:3 (scheduler/throwing-constructor)");
  EXPECT_THAT(made.error().what, HasSubstr("create() threw std::runtime_error: the constructor does not feel like it"));
  EXPECT_THAT(made.error().fix, HasSubstr("scheduler-throwing-constructor.so"));
}

TEST_F(Instantiate, AFactoryThatReturnsAnErrorKeepsItsCode) {
  PluginDescriptor descriptor = half();
  descriptor.create = [](HostContext&, const void*) -> Result<std::shared_ptr<Plugin>> {
    return storage_error("the file is gone", "bring it back", "/data/x");
  };
  const auto made = instantiate<Scheduler>(block_of(descriptor), contexts);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::storage);
  EXPECT_EQ(made.error().render(), "run.yaml:7:3 (scheduler/half): /data/x: the file is gone: bring it back");
}

TEST_F(Instantiate, AFactoryThatReturnsNothingIsABug) {
  PluginDescriptor descriptor = half();
  descriptor.create = [](HostContext&, const void*) -> Result<std::shared_ptr<Plugin>> {
    return std::shared_ptr<Plugin>();
  };
  const auto made = instantiate<Scheduler>(block_of(descriptor), contexts);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::internal);
}

} // namespace
} // namespace conclave
