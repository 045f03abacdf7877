// The model over many ranks against the model on one: losses, statistics, logits, and every gradient as the host would
// reduce it; and that the ranks' parameters are the whole model's, each element once.

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <mutex>
#include <optional>

#include "conclave/testkit_ranks.hpp"
#include "stage_harness.hpp"

namespace conclave::moe_transformer {
namespace {

using Tensors = std::map<std::string, at::Tensor>;
using testkit::RankSizes;

/// With every feature on, and sizes that 4 tensor ranks can share.
Config splittable_config() {
  Config c = rich_config();
  c.width = 20;
  c.dense_width = 16;
  c.shared_experts = 2;
  return c;
}

at::Tensor box(at::Tensor view, const Box& part) {
  for (std::size_t axis = 0; axis < part.size.size(); ++axis)
    view = view.narrow(static_cast<std::int64_t>(axis), part.offset[axis], part.size[axis]);
  return view;
}

/// Named tensors, put together from what the ranks own.
class Assembly {
 public:
  /// The first of equal copies owns; others are left out.
  void add(const ParamSpec& spec, const Mesh& mesh, const at::Tensor& local) {
    for (const MeshDim dim : spec.replicated_over)
      if (mesh.index(dim) > 0) return;
    const at::NoGradGuard no_grad;
    const std::lock_guard lock(mutex_);
    for (const ParamPiece& piece : spec.pieces) {
      at::Tensor& whole = tensors_[piece.name];
      if (!whole.defined()) whole = at::zeros(piece.global_shape, local.options());
      at::Tensor to = box(whole, piece.global);
      to.add_(box(local, piece.local).reshape(to.sizes()));
      if (!spec.tied_with.empty()) continue;
      at::Tensor& times = times_[piece.name];
      if (!times.defined()) times = at::zeros(piece.global_shape, at::kInt);
      box(times, piece.global).add_(1);
    }
  }
  /// A tensor of which every caller has the same part, or another part.
  void add_part(const std::string& name, std::int64_t index, const at::Tensor& part) {
    const std::lock_guard lock(mutex_);
    const auto [found, is_new] = parts_[name].emplace(index, part);
    EXPECT_TRUE(is_new || found->second.equal(part)) << name << " differs between ranks";
  }
  [[nodiscard]] const Tensors& tensors() const { return tensors_; }
  [[nodiscard]] const Tensors& times() const { return times_; }
  /// The parts of every name, as a list by index.
  [[nodiscard]] std::map<std::string, std::vector<at::Tensor>> parts() const {
    std::map<std::string, std::vector<at::Tensor>> all;
    for (const auto& [name, parts] : parts_)
      for (const auto& [index, part] : parts) all[name].push_back(part);
    return all;
  }

 private:
  std::mutex mutex_;
  Tensors tensors_, times_;
  std::map<std::string, std::map<std::int64_t, at::Tensor>> parts_;
};

/// What one step computes, whole.
struct Outcome {
  Assembly values, gradients;
  Assembly results; ///< losses by data rank and chunk; token_nll and logits by data rank; buffers
};

constexpr std::int64_t vocabulary = 31, sequences = 4, length = 10;

/// The rows of one data rank: four sequences of 10 tokens, the last with padding, the first of two documents.
Batch part_of_batch(std::int64_t index, std::int64_t count) {
  Batch batch = make_batch(sequences, length, vocabulary);
  batch.token_mask = at::ones({sequences, length}, at::kBool);
  batch.token_mask[3].narrow(0, 7, 3).fill_(false);
  batch.loss_mask.logical_and_(batch.token_mask);
  batch.global_loss_tokens = batch.loss_mask.sum().item<std::int64_t>();
  batch.segment_ids = at::zeros({sequences, length}, at::kInt);
  batch.segment_ids[0].narrow(0, 4, 6).fill_(1);
  const std::int64_t rows = sequences / count;
  for (at::Tensor* tensor :
       {&batch.tokens, &batch.labels, &batch.loss_mask, &batch.token_mask, &batch.position_ids, &batch.segment_ids})
    *tensor = tensor->narrow(0, index * rows, rows).contiguous();
  return batch;
}

struct RunSetup {
  Config config = splittable_config();
  int chunks = 1;
  Recompute recompute = Recompute::none;
  at::ScalarType compute = at::kDouble;
};

/// One rank's share of a step: chunks forward and backward, chunk c on pipeline rank c mod p.
class Rank {
 public:
  Rank(const RunSetup& setup, const Mesh& mesh, std::shared_ptr<Groups> groups)
      : setup_(setup),
        mesh_(mesh),
        groups_(std::move(groups)),
        batch_(part_of_batch(mesh.index(MeshDim::data), mesh.size(MeshDim::data))),
        passes_(static_cast<std::size_t>(setup.chunks)) {}

  void step(Outcome& outcome) {
    for (int chunk = 0; chunk < setup_.chunks; ++chunk)
      if (is_own(chunk)) forward(chunk, outcome);
    for (int chunk = setup_.chunks; chunk-- > 0;)
      if (is_own(chunk)) backward(chunk);
    for (const Pass& pass : passes_)
      if (pass.bound) reduce_and_tell(*pass.bound, outcome);
  }

 private:
  struct Pass {
    std::unique_ptr<BoundStage> bound;
    at::Tensor input;
    StageOutput output;
  };

  [[nodiscard]] int rank_of(int chunk) const { return chunk % mesh_.size(MeshDim::pipeline); }
  [[nodiscard]] bool is_own(int chunk) const { return rank_of(chunk) == mesh_.index(MeshDim::pipeline); }
  Pass& pass(int chunk) { return passes_[static_cast<std::size_t>(chunk)]; }
  [[nodiscard]] Group& pipeline() { return groups_->over({MeshDim::pipeline}); }

  void forward(int chunk, Outcome& outcome) {
    StageRequest request = request_of(vocabulary, setup_.compute);
    request.mesh = mesh_;
    request.groups = groups_;
    request.chunk = chunk;
    request.chunks = setup_.chunks;
    request.recompute = setup_.recompute;
    Pass& own = pass(chunk);
    own.bound = std::make_unique<BoundStage>(setup_.config, request, true);
    own.bound->stage.wants_logits(true);
    for (const BufferSpec& spec : own.bound->description.buffers) { // a bias that changes choices, loads that differ
      if (spec.use != BufferUse::state) continue;
      const at::Tensor value = at::arange(spec.shape[0]).remainder(3);
      own.bound->buffers.at(spec.name).copy_(spec.dtype == at::kLong ? value.add(1) : value.mul(0.1));
    }
    if (chunk > 0) own.input = input_of_chunk(chunk).requires_grad_();
    own.output = own.bound->stage.forward(input_of(batch_, own.input));
    if (own.output.activations.defined() && !is_own(chunk + 1))
      pipeline().send(own.output.activations.detach(), rank_of(chunk + 1)).wait();
    tell(chunk, own.output, outcome.results);
  }

  at::Tensor input_of_chunk(int chunk) {
    if (is_own(chunk - 1)) return pass(chunk - 1).output.activations.detach();
    const auto shape = pass(chunk).bound->stage.input_shape(batch_.tokens.size(0), batch_.tokens.size(1));
    at::Tensor received = at::empty(shape, setup_.compute);
    pipeline().receive(received, rank_of(chunk - 1)).wait();
    return received;
  }

  void backward(int chunk) {
    Pass& own = pass(chunk);
    std::vector<at::Tensor> roots, seeds;
    if (chunk + 1 < setup_.chunks) {
      roots.push_back(own.output.activations);
      if (is_own(chunk + 1)) {
        seeds.push_back(pass(chunk + 1).input.grad());
      } else {
        seeds.push_back(at::empty_like(own.output.activations));
        pipeline().receive(seeds.back(), rank_of(chunk + 1)).wait();
      }
    }
    if (const at::Tensor loss = total_loss(own.output, batch_); loss.defined()) {
      roots.push_back(loss);
      seeds.push_back(at::ones({}, loss.options()));
    }
    torch::autograd::backward(roots, seeds);
    if (chunk > 0 && !is_own(chunk - 1)) pipeline().send(own.input.grad(), rank_of(chunk - 1)).wait();
  }

  /// Equal on every tensor rank, bit for bit.
  void tell(int chunk, const StageOutput& output, Assembly& results) const {
    const int data = mesh_.index(MeshDim::data);
    for (const LocalLoss& loss : output.local_losses)
      results.add_part(loss.name, data * setup_.chunks + chunk, loss.sum.detach());
    if (output.token_nll.defined()) results.add_part("token_nll", data, output.token_nll);
    if (output.logits.defined()) results.add_part("logits", data, output.logits);
  }

  void reduce_and_tell(BoundStage& bound, Outcome& outcome) {
    for (std::size_t i = 0; i < bound.sinks.size(); ++i) {
      const ParamSpec& spec = bound.description.parameters[i];
      const GradSink& sink = *bound.sinks[i];
      EXPECT_EQ(sink.received(), sink.expected) << spec.name;
      if (!spec.grad_sum_over.empty()) groups_->over(spec.grad_sum_over).all_reduce(sink.gradient).wait();
      outcome.gradients.add(spec, mesh_, sink.gradient);
      if (spec.tied_with.empty()) outcome.values.add(spec, mesh_, bound.parameters.at(spec.name).value);
    }
    for (const BufferSpec& spec : bound.description.buffers)
      if (spec.use == BufferUse::counter) groups_->over({MeshDim::data}).all_reduce(bound.buffers.at(spec.name)).wait();
    StepGate gate;
    gate.apply = at::ones({});
    bound.stage.update_buffers(gate);
    for (const auto& [name, buffer] : bound.buffers) outcome.results.add_part(name, 0, buffer);
  }

  const RunSetup& setup_;
  Mesh mesh_;
  std::shared_ptr<Groups> groups_;
  Batch batch_;
  std::vector<Pass> passes_;
};

void run(const RunSetup& setup, const RankSizes& sizes, Outcome& outcome) {
  testkit::run_ranks(
      sizes, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) { Rank(setup, mesh, groups).step(outcome); });
}

/// Losses summed over data ranks and chunks; token_nll and logits as rows of the whole batch.
Tensors whole_results(const Outcome& outcome) {
  Tensors whole;
  for (const auto& [name, parts] : outcome.results.parts())
    whole[name] = parts[0].dim() == 0 ? at::stack(parts).sum() : at::cat(parts);
  return whole;
}

struct RanksCase {
  const char* name;
  RankSizes sizes;
  int chunks = 1;
  std::int64_t kv_heads = 2;
  bool tied = false, recompute = false, plain_softmax = false;
  ops::BalanceScope scope = ops::BalanceScope::sequence;
};

void PrintTo(const RanksCase& c, std::ostream* out) { *out << c.name; }

RunSetup setup_of(const RanksCase& c) {
  RunSetup setup;
  setup.config.kv_heads = c.kv_heads;
  setup.config.tie_embeddings = c.tied;
  setup.chunks = c.chunks;
  if (c.recompute) setup.recompute = Recompute::layer;
  if (c.plain_softmax) {
    setup.config.router = {};
    setup.config.shared_experts = 0;
    setup.config.qk_norm = false;
  }
  setup.config.router.balance_scope = c.scope;
  return setup;
}

class Ranks : public ::testing::TestWithParam<RanksCase> {};

TEST_P(Ranks, ComputeWhatOneRankComputes) {
  RunSetup setup = setup_of(GetParam());
  Outcome found, expected;
  run(setup, GetParam().sizes, found);
  setup.chunks = 1;
  setup.recompute = Recompute::none;
  run(setup, {}, expected);

  const Tensors results = whole_results(found);
  EXPECT_GE(results.size(), 4U);
  for (const auto& [name, tensor] : whole_results(expected)) {
    if (tensor.is_floating_point())
      EXPECT_LT(relative_difference(results.at(name), tensor), 1e-10) << name;
    else
      EXPECT_TRUE(results.at(name).equal(tensor)) << name;
  }
  for (const auto& [name, times] : found.gradients.times())
    EXPECT_TRUE(times.eq(1).all().item<bool>()) << name << " is not covered once";
  ASSERT_EQ(found.values.tensors().size(), expected.values.tensors().size());
  for (const auto& [name, value] : expected.values.tensors())
    EXPECT_TRUE(found.values.tensors().at(name).equal(value)) << name << " starts from other values";
  ASSERT_EQ(found.gradients.tensors().size(), expected.gradients.tensors().size());
  for (const auto& [name, gradient] : expected.gradients.tensors()) {
    EXPECT_GT(gradient.abs().max().item<double>(), 0) << name << ": a gradient of zero shows nothing";
    EXPECT_LT(relative_difference(found.gradients.tensors().at(name), gradient), 1e-10) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Meshes, Ranks,
    ::testing::Values(
        RanksCase{.name = "data2", .sizes = {.data = 2}}, RanksCase{.name = "tensor2", .sizes = {.tensor = 2}},
        RanksCase{.name = "tensor2_one_key_head", .sizes = {.tensor = 2}, .kv_heads = 1, .tied = true},
        RanksCase{.name = "tensor2_all_key_heads", .sizes = {.tensor = 2}, .kv_heads = 4, .recompute = true},
        RanksCase{.name = "tensor2_plain_softmax", .sizes = {.tensor = 2}, .plain_softmax = true},
        RanksCase{.name = "tensor4", .sizes = {.tensor = 4}, .kv_heads = 4, .tied = true},
        RanksCase{.name = "tensor4_two_key_heads", .sizes = {.tensor = 4}, .kv_heads = 2, .recompute = true},
        RanksCase{.name = "tensor4_one_key_head", .sizes = {.tensor = 4}, .kv_heads = 1},
        RanksCase{.name = "expert2_over_data", .sizes = {.data = 2, .expert = 2}},
        RanksCase{.name = "expert4_over_data", .sizes = {.data = 4, .expert = 4}, .recompute = true},
        RanksCase{.name = "expert2_of_data4", .sizes = {.data = 4, .expert = 2}, .plain_softmax = true},
        RanksCase{.name = "expert2_over_tensor", .sizes = {.tensor = 2, .expert = 2}},
        RanksCase{.name = "expert4_over_both", .sizes = {.data = 2, .tensor = 2, .expert = 4}, .tied = true},
        RanksCase{.name = "expert2_of_tensor2_data2",
                  .sizes = {.data = 2, .tensor = 2, .expert = 2},
                  .kv_heads = 1,
                  .recompute = true},
        RanksCase{.name = "pipeline2", .sizes = {.pipeline = 2}, .chunks = 2},
        RanksCase{.name = "pipeline3_tied", .sizes = {.pipeline = 3}, .chunks = 3, .tied = true},
        RanksCase{.name = "chunks3_on_one_rank", .sizes = {}, .chunks = 3, .tied = true, .recompute = true},
        RanksCase{.name = "pipeline2_tensor2_expert2",
                  .sizes = {.pipeline = 2, .tensor = 2, .expert = 2},
                  .chunks = 2,
                  .tied = true,
                  .recompute = true},
        RanksCase{.name = "pipeline2_data2_tensor2_expert4",
                  .sizes = {.pipeline = 2, .data = 2, .tensor = 2, .expert = 4},
                  .chunks = 2,
                  .kv_heads = 1,
                  .tied = true},
        RanksCase{.name = "data2_lagged", .sizes = {.data = 2}, .scope = ops::BalanceScope::batch_lagged},
        RanksCase{.name = "tensor2_lagged",
                  .sizes = {.tensor = 2},
                  .recompute = true,
                  .scope = ops::BalanceScope::batch_lagged},
        RanksCase{.name = "expert2_over_data_lagged",
                  .sizes = {.data = 2, .expert = 2},
                  .plain_softmax = true,
                  .scope = ops::BalanceScope::batch_lagged},
        RanksCase{.name = "pipeline2_lagged",
                  .sizes = {.pipeline = 2},
                  .chunks = 2,
                  .scope = ops::BalanceScope::batch_lagged},
        // One micro-batch: data ranks would cut it.
        RanksCase{.name = "pipeline2_tensor2_expert2_micro_batch",
                  .sizes = {.pipeline = 2, .tensor = 2, .expert = 2},
                  .chunks = 2,
                  .scope = ops::BalanceScope::micro_batch}),
    [](const auto& mesh) { return std::string(mesh.param.name); });

TEST(RanksInLowPrecision, FollowOneRank) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    RunSetup setup;
    setup.compute = type;
    setup.config.kv_heads = 1;
    Outcome found, expected;
    run(setup, {.data = 2, .tensor = 2, .expert = 4}, found);
    run(setup, {}, expected);
    const double loss = whole_results(expected).at("cross_entropy").item<double>();
    EXPECT_NEAR(whole_results(found).at("cross_entropy").item<double>(), loss, 0.02 * loss) << type;
    for (const auto& [name, gradient] : found.gradients.tensors()) {
      EXPECT_EQ(gradient.scalar_type(), at::kFloat) << name;
      EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << name;
    }
  }
}

TEST(RanksRefuse, TokensThatTheyCannotShare) {
  RunSetup setup;
  EXPECT_THAT(
      [&] {
        testkit::run_ranks({.tensor = 4}, [&](const Mesh& mesh, const std::shared_ptr<Groups>& groups) {
          StageRequest request = request_of(vocabulary, at::kDouble);
          request.mesh = mesh;
          request.groups = groups;
          BoundStage bound(setup.config, request, false);
          const Batch batch = make_batch(2, 7, vocabulary);
          (void)bound.stage.forward(input_of(batch));
        });
      },
      ::testing::ThrowsMessage<std::invalid_argument>(
          ::testing::HasSubstr("2 sequences x 7 tokens / tensor 4 is not whole")));
}

TEST(RanksRefuse, AStageWithoutGroups) {
  StageRequest request = request_of();
  request.mesh = Mesh({1, 1, 1, 2, 2, 1}, {});
  MoeStage stage(splittable_config(), request);
  const Status bound = stage.bind({});
  ASSERT_FALSE(bound.ok());
  EXPECT_NE(bound.error().what.find("no groups"), std::string::npos);
}

/// A local tensor times the ranks it is placed over is the tensor of one rank; padding of the vocabulary is all there is more.
TEST(LayoutOverRanks, PlacementsSayWhichAxisIsSplit) {
  const Config config = splittable_config();
  const auto whole = make_layout(config, vocabulary).description.parameters;
  const Mesh mesh({1, 2, 1, 4, 4, 2}, {0, 1, 0, 3, 3, 1});
  const auto local = make_layout(config, vocabulary, mesh).description.parameters;
  ASSERT_EQ(local.size(), whole.size());
  int placed = 0;
  for (std::size_t i = 0; i < local.size(); ++i) {
    std::vector<std::int64_t> shape = local[i].shape;
    for (const ParamPlacement& placement : local[i].placements) {
      shape[static_cast<std::size_t>(placement.axis)] *= mesh.size(placement.dim);
      ++placed;
    }
    if (whole[i].shape[0] == vocabulary) shape[0] -= 1; // 4 x 8 = 32
    EXPECT_EQ(shape, whole[i].shape) << whole[i].name;
    EXPECT_EQ(local[i].name, whole[i].name);
    EXPECT_TRUE(whole[i].placements.empty()) << whole[i].name;
  }
  // Two tables; qkv, the output, and a gate and its bias in 3 layers; one dense layer; in two others routed and shared experts.
  EXPECT_EQ(placed, 2 + 3 * 4 + 2 + 2 * 4);
}

} // namespace
} // namespace conclave::moe_transformer
