// Layout, initial values and types of the flat storage.

#include "train/storage.hpp"

#include <gtest/gtest.h>

#include "conclave/random.hpp"
#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::hidden, testing::width, testing::vocabulary;

std::unique_ptr<train::ParameterStorage> make(const StageDescription& description, at::ScalarType compute,
                                              at::ScalarType master = at::kFloat) {
  auto made = train::ParameterStorage::make(description, {.master = master, .compute = compute, .seed = 7});
  if (!made.ok()) throw std::runtime_error(made.error().render());
  return std::move(made).value();
}

TEST(Storage, InitialValuesArePureFunctionsOfGlobalNameAndIndex) {
  const auto description = testing::TinyStage(at::kDouble, at::kDouble).describe();
  const auto storage = make(description, at::kDouble, at::kDouble);
  const at::Tensor embed = storage->find("embed")->master, w1 = storage->find("w1.fused")->master;
  const RandomStream embed_stream(7, "embed"), second_stream(7, "w1.1");
  for (std::int64_t i = 0; i < embed.numel(); ++i)
    EXPECT_EQ(embed.data_ptr<double>()[i], 0.5 * embed_stream.normal(static_cast<std::uint64_t>(i)));
  for (std::int64_t i = 0; i < hidden / 2 * width; ++i)
    EXPECT_EQ(w1.data_ptr<double>()[hidden / 2 * width + i], 0.5 * second_stream.normal(static_cast<std::uint64_t>(i)));
  for (std::int64_t i = 0; i < width; ++i) EXPECT_EQ(w1.data_ptr<double>()[hidden * width + i], 0) << "padding";
}

TEST(Storage, APartOfAParameterHasTheWholesValues) {
  auto describe = [](const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& offset) {
    ParamSpec spec;
    spec.name = "w";
    spec.shape = shape;
    spec.pieces = {{"w", {4, 3, 5}, {offset, shape}, {{0, 0, 0}, shape}}};
    return StageDescription{{spec}, {}};
  };
  const StageDescription whole = describe({4, 3, 5}, {0, 0, 0}), part = describe({2, 3, 2}, {2, 0, 1});
  const at::Tensor expected = make(whole, at::kFloat)->find("w")->master.narrow(0, 2, 2).narrow(2, 1, 2);
  EXPECT_TRUE(make(part, at::kFloat)->find("w")->master.equal(expected));
}

TEST(Storage, OneFlatTensorForEachDecayClass) {
  const auto description = testing::TinyStage(at::kFloat, at::kFloat).describe();
  const auto storage = make(description, at::kBFloat16);
  storage->allocate_states({"a", "b"});
  ASSERT_EQ(storage->groups().size(), 2U);
  EXPECT_EQ(storage->groups()[1].decay, DecayClass::no_decay);
  EXPECT_FALSE(storage->groups()[1].compute.defined()) << "its only parameter is full precision";
  for (const train::ParameterSlot& slot : storage->slots()) {
    EXPECT_EQ(slot.offset % train::alignment, 0);
    EXPECT_EQ(slot.states.size(), 2U);
    EXPECT_TRUE(slot.value.is_leaf() && slot.value.requires_grad());
    EXPECT_EQ(slot.value.scalar_type(), slot.spec->full_precision ? at::kFloat : at::kBFloat16);
    EXPECT_TRUE(slot.value.equal(slot.master.to(slot.value.scalar_type())));
    EXPECT_TRUE(slot.master.is_contiguous() && slot.sink.gradient.is_contiguous());
  }
  const auto flat = storage->segments(true), whole = storage->segments(false);
  EXPECT_EQ(flat.size(), 2U);
  ASSERT_EQ(whole.size(), 4U);
  EXPECT_EQ(whole[0].master.sizes().vec(), (std::vector<std::int64_t>{vocabulary, width}));
  EXPECT_EQ(whole[0].parameter->name, "embed");
}

TEST(Storage, RefusesDescriptionsThatContradictThemselves) {
  const auto good = testing::TinyStage(at::kFloat, at::kFloat).describe();
  auto error = [&](auto&& spoil) {
    StageDescription bad = good;
    spoil(bad);
    auto made = train::ParameterStorage::make(bad, {});
    return made.ok() ? std::string() : made.error().render();
  };
  EXPECT_NE(error([](auto& d) { d.parameters[1].name = "embed"; }).find("described twice"), std::string::npos);
  EXPECT_NE(error([](auto& d) { d.parameters[1].pieces[0].local.offset[0] = 6; }).find("w1.0"), std::string::npos);
  EXPECT_NE(error([](auto& d) { d.parameters[1].pieces.clear(); }).find("no piece"), std::string::npos);
  EXPECT_NE(error([](auto& d) { d.parameters[3].tied_with = "x"; }).find("tied"), std::string::npos);
}

} // namespace
} // namespace conclave
