// One small model with every feature on, trained under every layout of 2, 4 and 8 ranks, against one rank.
//
// fp64: losses, gradient norms and final parameters agree to 1e-9 over 20 steps; routing counts agree exactly. A checkpoint of
// any layout goes on under any other.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <stdexcept>

#include "small_run.hpp"

namespace conclave {
namespace {

using testing::all_features, testing::Layout, testing::name_of, testing::Network, testing::train, testing::Trained;

constexpr std::int64_t steps = 20;

double largest_difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

void expect_equal(const Trained& expected, const Trained& found, double tolerance, std::size_t skip = 0) {
  ASSERT_EQ(found.steps.size() + skip, expected.steps.size());
  for (std::size_t i = 0; i < found.steps.size(); ++i) {
    const StepResult &ours = found.steps[i], &theirs = expected.steps[i + skip];
    EXPECT_NEAR(ours.loss, theirs.loss, tolerance) << "step " << i + skip;
    EXPECT_NEAR(ours.nll, theirs.nll, tolerance) << "step " << i + skip;
    EXPECT_NEAR(ours.grad_norm, theirs.grad_norm, tolerance) << "step " << i + skip;
    ASSERT_EQ(ours.counters.size(), theirs.counters.size());
    for (std::size_t c = 0; c < ours.counters.size(); ++c)
      EXPECT_EQ(ours.counters[c].values, theirs.counters[c].values) << "step " << i + skip << ", counter " << c;
    if (::testing::Test::HasFailure()) return;
  }
  ASSERT_EQ(found.state.tensors.size(), expected.state.tensors.size());
  for (const auto& [name, tensor] : expected.state.tensors)
    EXPECT_LT(largest_difference(found.state.tensors.at(name), tensor), tolerance) << name;
}

/// Every layout of that many ranks that the small model allows.
std::vector<Layout> layouts_of(int ranks) {
  std::vector<Layout> found;
  for (int pipeline = 1; pipeline <= std::min(ranks, 4); pipeline *= 2)
    for (int tensor = 1; pipeline * tensor <= ranks; tensor *= 2)
      for (int expert = 1; expert <= ranks / pipeline && expert <= 8; expert *= 2)
        for (int chunks = 1; chunks * pipeline <= 4; chunks *= 2) {
          if (chunks > 1 && pipeline == 1) continue;
          const int data = ranks / pipeline / tensor;
          if (chunks > 1 && 8 / data % pipeline != 0) continue; // packs of micro-batches
          found.push_back({pipeline, chunks, data, tensor, expert});
        }
  return found;
}

class Layouts : public ::testing::TestWithParam<Layout> {
 protected:
  static const Trained& one_rank() {
    static const auto trained = [] {
      at::set_num_threads(1);
      auto made = std::make_unique<Trained>();
      train({}, {}, 0, steps, *made);
      return made;
    }();
    return *trained;
  }
};

TEST_P(Layouts, ComputeTheSameRun) {
  Trained many;
  train({}, GetParam(), 0, steps, many);
  for (const StepResult& step : many.steps) EXPECT_GT(step.grad_norm, 0.5) << "clipping is active";
  expect_equal(one_rank(), many, 1e-9);
}

// Recomputed activations, uneven pipeline stages, optimizer states that are not sharded.
TEST(LayoutOptions, ComputeTheSameRun) {
  at::set_num_threads(1);
  Network network;
  network.recompute = true;
  Trained one;
  train(network, {}, 0, 8, one);
  network.options["pipeline_layers"] = {1, 3};
  for (const Layout& layout : {Layout{2, 1, 2, 2, 4}, Layout{2, 1, 2, 1, 2, false}, Layout{2, 1, 1, 4, 2}}) {
    SCOPED_TRACE(name_of(layout));
    Trained many;
    train(network, layout, 0, 8, many);
    expect_equal(one, many, 1e-9);
  }
}

// Norms are added in the order of names, counts and gradients on one rank each: nothing is added in another order.
TEST(Pipeline, CutsWithoutTiedWeightsChangeNoBit) {
  at::set_num_threads(1);
  Network network;
  network.options = all_features(false);
  network.compute = at::kFloat;
  Trained one;
  train(network, {}, 0, 8, one);
  for (const Layout& layout : {Layout{2}, Layout{4}, Layout{2, 2}}) {
    SCOPED_TRACE(name_of(layout));
    Trained many;
    train(network, layout, 0, 8, many);
    for (std::size_t i = 0; i < one.steps.size(); ++i) {
      EXPECT_EQ(many.steps[i].grad_norm, one.steps[i].grad_norm) << i;
      EXPECT_EQ(many.steps[i].nll, one.steps[i].nll) << i;
    }
    for (const auto& [name, tensor] : one.state.tensors) EXPECT_TRUE(tensor.equal(many.state.tensors.at(name))) << name;
  }
}

// A checkpoint of any layout goes on under any other as the unbroken run of one rank does; under the same layout, to the bit.
TEST(Resume, AnyLayoutGoesOnUnderAnyOther) {
  at::set_num_threads(1);
  const std::vector<Layout> layouts = {{},           {1, 1, 4},      {1, 1, 1, 4, 2}, {4, 1, 1, 1, 1, false},
                                       {2, 2, 2, 1}, {2, 1, 2, 2, 4}};
  constexpr std::int64_t half = 6, end = 12;
  Trained unbroken;
  train({}, {}, 0, end, unbroken);
  for (const Layout& before : layouts) {
    Trained first;
    train({}, before, 0, half, first);
    for (const Layout& after : layouts) {
      SCOPED_TRACE(name_of(before) + " then " + name_of(after));
      Trained second;
      train({}, after, half, end, second, &first.state);
      expect_equal(unbroken, second, 1e-9, half);
      if (name_of(before) != name_of(after)) continue;
      Trained straight;
      train({}, before, 0, end, straight);
      for (const auto& [name, tensor] : straight.state.tensors)
        EXPECT_TRUE(tensor.equal(second.state.tensors.at(name))) << name;
    }
  }
}

// The scopes of the balance loss other than the default. micro_batch: micro-batches are the same sequences here whatever the
// data ranks.
class BalanceScopes : public ::testing::TestWithParam<const char*> {};

TEST_P(BalanceScopes, AreTheSameLossUnderEveryLayout) {
  at::set_num_threads(1);
  constexpr std::int64_t half = 10;
  Network network;
  network.options["router"]["balance_loss"] = 0.5; // so that it steers
  Trained of_sequences;
  train(network, {}, 0, steps, of_sequences);
  network.options["router"]["balance_scope"] = GetParam();
  Trained one;
  train(network, {}, 0, steps, one);
  EXPECT_GT(std::abs(one.steps.back().loss - of_sequences.steps.back().loss), 1e-6) << "another loss";
  const std::vector<Layout> layouts = {{2}, {1, 1, 2}, {1, 1, 1, 2}, {1, 1, 2, 1, 2}, {2, 1, 2, 2, 4}};
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    SCOPED_TRACE(name_of(layouts[i]));
    Trained many;
    train(network, layouts[i], 0, steps, many);
    expect_equal(one, many, 1e-9);
    Trained first, moved, kept;
    train(network, layouts[i], 0, half, first);
    train(network, layouts[(i + 1) % layouts.size()], half, steps, moved, &first.state);
    expect_equal(one, moved, 1e-9, half);
    train(network, layouts[i], half, steps, kept, &first.state);
    for (const auto& [name, tensor] : many.state.tensors)
      EXPECT_TRUE(tensor.equal(kept.state.tensors.at(name))) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Router, BalanceScopes, ::testing::Values("batch_lagged", "micro_batch"),
                         [](const auto& scope) { return std::string(scope.param); });

// A resume with the scope of the first checkpoints reads what they hold; the lagged one misses its loads, and says which.
TEST(Resume, OnlyTheLaggedScopeNeedsItsLoads) {
  at::set_num_threads(1);
  Trained first, again;
  Network network;
  train(network, {}, 0, 2, first);
  for (const auto& [name, tensor] : first.state.tensors)
    EXPECT_EQ(name.find("previous_expert_load"), name.npos) << name;
  network.options["router"]["balance_scope"] = "sequence";
  train(network, {}, 2, 3, again, &first.state);
  network.options["router"]["balance_scope"] = "batch_lagged";
  EXPECT_THAT([&] { train(network, {}, 2, 3, again, &first.state); },
              ::testing::ThrowsMessage<std::runtime_error>(
                  ::testing::HasSubstr("no tensor `model.layers.1.mlp.gate.previous_expert_load`")));
}

// fp32: the curves agree until the first token goes elsewhere, which is said.
TEST(Fp32, AgreesUntilRoutingParts) {
  at::set_num_threads(1);
  Network network;
  network.compute = at::kFloat;
  Trained one;
  train(network, {}, 0, steps, one);
  for (const Layout& layout : {Layout{1, 1, 4, 1, 2}, Layout{1, 1, 1, 4, 4}, Layout{2, 1, 2, 2, 2}}) {
    Trained many;
    train(network, layout, 0, steps, many);
    for (std::size_t i = 0; i < one.steps.size(); ++i) {
      bool parted = false;
      for (std::size_t c = 0; c < one.steps[i].counters.size() && !parted; ++c)
        for (std::size_t e = 0; e < one.steps[i].counters[c].values.size() && !parted; ++e)
          if (const double ours = many.steps[i].counters[c].values[e], theirs = one.steps[i].counters[c].values[e];
              ours != theirs) {
            parted = true;
            std::printf("%s: routing parts at step %zu, layer %d, expert %zu: %g tokens, one rank %g\n",
                        name_of(layout).c_str(), i, one.steps[i].counters[c].layer, e, ours, theirs);
          }
      if (parted) {
        EXPECT_GT(i, 0U) << name_of(layout);
        break;
      }
      EXPECT_NEAR(many.steps[i].loss, one.steps[i].loss, 1e-4) << name_of(layout) << ", step " << i;
      EXPECT_NEAR(many.steps[i].grad_norm, one.steps[i].grad_norm, 1e-3) << name_of(layout) << ", step " << i;
    }
  }
}

std::string test_name(const ::testing::TestParamInfo<Layout>& info) { return name_of(info.param); }
INSTANTIATE_TEST_SUITE_P(Ranks2, Layouts, ::testing::ValuesIn(layouts_of(2)), test_name);
INSTANTIATE_TEST_SUITE_P(Ranks4, Layouts, ::testing::ValuesIn(layouts_of(4)), test_name);
INSTANTIATE_TEST_SUITE_P(Ranks8, Layouts, ::testing::ValuesIn(layouts_of(8)), test_name);

} // namespace
} // namespace conclave
