// Layout, initial values and types of the flat storage.

#include "train/storage.hpp"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "conclave/random.hpp"
#include "train/checkpoint_state.hpp"
#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::hidden, testing::width, testing::vocabulary;

std::unique_ptr<train::ParameterStorage> make(const StageDescription& description, at::ScalarType compute,
                                              at::ScalarType master = at::kFloat) {
  auto made = train::ParameterStorage::make({&description, 1}, {.master = master, .compute = compute, .seed = 7});
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
  EXPECT_TRUE(storage->groups()[1].full_precision) << "its only parameter is full precision";
  EXPECT_EQ(storage->groups()[1].value.const_data_ptr(), storage->groups()[1].master.const_data_ptr());
  EXPECT_NE(storage->groups()[0].value.const_data_ptr(), storage->groups()[0].master.const_data_ptr());
  for (const train::ParameterSlot& slot : storage->slots()) {
    EXPECT_EQ(slot.range.begin % train::alignment, 0);
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

// TinyStage with an expert (w2), whose copies are other ranks than those of the dense parameters.
StageDescription with_reductions() {
  auto description = testing::TinyStage(at::kFloat, at::kFloat).describe();
  for (ParamSpec& spec : description.parameters)
    spec.replicated_over = spec.grad_sum_over = {MeshDim::context, MeshDim::data};
  description.parameters[1].grad_sum_over = {MeshDim::data, MeshDim::context}; // the same set
  description.parameters[3].replicated_over = description.parameters[3].grad_sum_over = {MeshDim::expert_data};
  return description;
}

TEST(Storage, AFlatTensorHasOneDecayClassAndOneReduction) {
  const auto description = with_reductions();
  const auto storage = make(description, at::kBFloat16);
  const std::vector<MeshDim> dense = {MeshDim::data, MeshDim::context}, experts = {MeshDim::expert_data};
  ASSERT_EQ(storage->groups().size(), 3U);
  auto group_of = [&](const char* name) { return storage->find(name)->group; };
  EXPECT_EQ(group_of("embed"), group_of("w1.fused"));
  for (const train::ParameterSlot& slot : storage->slots()) {
    const train::FlatGroup& group = storage->groups()[slot.group];
    EXPECT_EQ(group.decay, slot.spec->decay) << slot.spec->name;
    EXPECT_EQ(group.grad_sum_over, slot.spec->name == "w2" ? experts : dense) << slot.spec->name;
    EXPECT_EQ(slot.sink.gradient.const_data_ptr(), group.gradient.const_data_ptr<float>() + slot.range.begin);
  }
  EXPECT_EQ(storage->groups()[group_of("w2")].master.numel(), 6 * train::alignment) << "w2 alone: 360 elements";
  EXPECT_EQ(storage->segments(true).size(), 3U);
  EXPECT_EQ(storage->segments(true).back().decay, DecayClass::no_decay) << "what decays comes first";
}

TEST(Storage, CheckpointsDoNotSeeTheGroups) {
  const auto plain = testing::TinyStage(at::kFloat, at::kFloat).describe(), grouped = with_reductions();
  auto snapshot = [](const StageDescription& description) {
    const auto storage = make(description, at::kFloat);
    storage->allocate_states({"m"});
    for (std::size_t i = 0; i < storage->slots().size(); ++i)
      storage->slots()[i].states[0].copy_(storage->slots()[i].master * static_cast<double>(i + 2));
    Snapshot out;
    std::vector<std::unique_ptr<train::BufferStorage>> buffers;
    buffers.push_back(std::make_unique<train::BufferStorage>(description, at::kCPU));
    EXPECT_TRUE(train::snapshot_tensors(*storage, {description}, buffers, Mesh{}, out).ok());
    for (TensorShard& shard : out.tensors) shard.value = shard.value.clone(); // they are views of the storage
    return out.tensors;
  };
  const auto expected = snapshot(plain), found = snapshot(grouped);
  ASSERT_EQ(expected.size(), found.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(found[i].name, expected[i].name);
    EXPECT_EQ(found[i].offset, expected[i].offset);
    EXPECT_TRUE(found[i].value.equal(expected[i].value)) << found[i].name;
  }
}

TEST(Storage, RefusesDescriptionsThatContradictThemselves) {
  const auto good = testing::TinyStage(at::kFloat, at::kFloat).describe();
  auto error = [&](auto&& spoil) {
    StageDescription bad = good;
    spoil(bad);
    auto made = train::ParameterStorage::make({&bad, 1}, {});
    return made.ok() ? std::string() : made.error().render();
  };
  EXPECT_NE(error([](auto& d) { d.parameters[1].name = "embed"; }).find("described twice"), std::string::npos);
  EXPECT_NE(error([](auto& d) { d.parameters[1].pieces[0].local.offset[0] = hidden; }).find("w1.0"), std::string::npos);
  EXPECT_NE(error([](auto& d) { d.parameters[1].pieces.clear(); }).find("no piece"), std::string::npos);
  EXPECT_NE(error([](auto& d) { d.parameters[3].tied_with = "x"; }).find("tied"), std::string::npos);
}

} // namespace
} // namespace conclave
