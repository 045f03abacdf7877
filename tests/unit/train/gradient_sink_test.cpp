// When a gradient is complete: once a step, with the last expected contribution or at the end of the last backward pass.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string_view>

#include "conclave/ops/embedding.hpp"
#include "conclave/ops/linear.hpp"
#include "plugin/guard.hpp"
#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::make_step, testing::settings_for, testing::vocabulary, testing::width;

enum class Tie { by_operators, by_autograd, by_both };

/// logits = (tied[token] + bias) tied^T; `unused` is in no forward pass.
struct TiedStage final : Stage {
  TiedStage(Tie how, int described, bool bias_first_only)
      : tie(how), contributions(described), first_only(bias_first_only) {}

  [[nodiscard]] StageDescription describe() const override {
    StageDescription description;
    auto add = [&](const char* name, std::vector<std::int64_t> shape) -> ParamSpec& {
      const Box whole{std::vector<std::int64_t>(shape.size(), 0), shape};
      ParamSpec& spec = description.parameters.emplace_back();
      spec.name = name;
      spec.shape = shape;
      spec.pieces = {{name, shape, whole, whole}};
      spec.init.scale = 0.5;
      return spec;
    };
    add("tied", {vocabulary, width}).contributions = contributions;
    add("bias", {width});
    add("unused", {width});
    return description;
  }

  Status bind(StageStorage storage) override {
    bound = std::move(storage);
    return {};
  }

  StageOutput forward(const StageInput& input) override {
    const Batch& batch = *input.batch;
    const BoundParam& tied = bound.parameters[0];
    at::Tensor h =
        tie == Tie::by_operators ? ops::embedding(batch.tokens, tied) : at::embedding(tied.value, batch.tokens);
    if (!first_only || calls++ == 0) h = h + bound.parameters[1].value;
    const at::Tensor logits = tie == Tie::by_autograd ? at::linear(h, tied.value) : ops::linear(h, tied);
    const at::Tensor nll = -at::log_softmax(logits, -1).gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1);
    StageOutput output;
    output.local_losses = {{"cross_entropy", at::where(batch.loss_mask, nll, at::zeros({}, nll.options())).sum()}};
    return output;
  }

  Tie tie;
  int contributions;
  bool first_only; ///< the bias is part of a step's first micro-batch only
  int calls = 0;
  StageStorage bound;
};

struct Completion {
  int calls = 0;
  bool early = false; ///< during the backward pass
  at::Tensor gradient;
};

struct TiedRig {
  explicit TiedRig(Tie tie, int described = 2, bool bias_first_only = false) {
    at::set_num_threads(1);
    auto owned = std::make_unique<TiedStage>(tie, described, bias_first_only);
    stage = owned.get();
    auto made = make_step_engine(settings_for(at::kFloat),
                                 testing::parts_of(std::move(owned), std::make_shared<testing::Momentum>()));
    if (!made.ok()) throw std::runtime_error(made.error().render());
    engine = std::move(made).value();
  }

  /// What each parameter's on_complete saw in one step.
  std::vector<Completion> step(std::int64_t index, std::int64_t micro_batches) {
    std::vector<Completion> seen(stage->bound.parameters.size());
    for (std::size_t i = 0; i < seen.size(); ++i) {
      GradSink& sink = *stage->bound.parameters[i].sink;
      sink.gradient.fill_(std::numeric_limits<float>::quiet_NaN()); // stale
      sink.on_complete = [&completion = seen[i], &sink] {
        ++completion.calls;
        const char* call = current_breadcrumb().call; // backward passes on a CPU run on the step thread
        completion.early = call != nullptr && std::string_view(call) == "backward";
        completion.gradient = sink.gradient.clone();
      };
    }
    stage->calls = 0;
    auto result = engine->step(make_step(index, 6, micro_batches));
    if (!result.ok()) throw std::runtime_error(result.error().render());
    for (std::size_t i = 0; i < seen.size(); ++i) {
      GradSink& sink = *stage->bound.parameters[i].sink;
      sink.on_complete = nullptr;
      EXPECT_EQ(seen[i].calls, 1) << names[i];
      EXPECT_TRUE(seen[i].gradient.defined() && seen[i].gradient.equal(sink.gradient)) << names[i];
    }
    return seen;
  }

  const std::vector<std::string> names = {"tied", "bias", "unused"};
  TiedStage* stage = nullptr;
  std::unique_ptr<StepEngine> engine;
};

TEST(GradSink, CompletesOnceAStepHoweverAnEmbeddingIsTied) {
  for (const std::int64_t micro_batches : {1, 2}) {
    std::vector<at::Tensor> reference;
    for (const Tie tie : {Tie::by_operators, Tie::by_both, Tie::by_autograd}) {
      TiedRig rig(tie);
      rig.step(0, micro_batches);
      const auto seen = rig.step(1, micro_batches);
      EXPECT_EQ(seen[0].early, tie != Tie::by_autograd) << "autograd alone contributes once where two were described";
      EXPECT_TRUE(seen[1].early);
      EXPECT_FALSE(seen[2].early);
      EXPECT_EQ(seen[2].gradient.abs().sum().item<float>(), 0) << "nothing contributed";
      if (reference.empty()) reference = {seen[0].gradient, seen[1].gradient};
      for (std::size_t i = 0; i < reference.size(); ++i)
        EXPECT_LT((seen[i].gradient - reference[i]).abs().max().item<float>(), 1e-6) << rig.names[i];
    }
  }
}

TEST(GradSink, AutogradDescribedAsOneContributionCompletesEarly) {
  for (const std::int64_t micro_batches : {1, 2}) {
    TiedRig rig(Tie::by_autograd, 1);
    EXPECT_TRUE(rig.step(0, micro_batches)[0].early);
  }
}

TEST(GradSink, AParameterThatTheLastMicroBatchLeavesOutKeepsWhatCameBefore) {
  TiedRig rig(Tie::by_operators, 2, true);
  for (std::int64_t i = 0; i < 2; ++i) {
    const auto seen = rig.step(i, 2);
    EXPECT_FALSE(seen[1].early);
    EXPECT_GT(seen[1].gradient.abs().sum().item<float>(), 0);
  }
}

TEST(GradSink, MoreContributionsThanDescribedAreAnErrorOfTheModel) {
  TiedRig rig(Tie::by_operators, 1);
  auto result = rig.engine->step(make_step(0, 6, 2));
  ASSERT_FALSE(result.ok());
  const std::string text = result.error().render();
  EXPECT_NE(text.find("model/tiny"), std::string::npos) << text;
  EXPECT_NE(text.find("`tied` got 2 contributions"), std::string::npos) << text;
}

} // namespace
} // namespace conclave
