// A model whose sizes one can do in one's head, and an experiment around it.
//
//   chunk 0:     embed [16, 64]                                     1,024 elements
//   each layer:  norm [64], full precision                              64
//                dense [64, 64], split over tensor ranks             4,096
//                experts [8, 64, 64], split over expert ranks       32,768
//   last chunk:  embed again, tied, when it is not chunk 0; buffers: state bias [8] fp32, counter load [8] int64
// Activations: 1,000 bytes kept and 300 to work with for each layer and token, a tenth of that kept where layers are
// computed again; a message has 64 elements a token. Work: a product of 8,192 operations for each layer and token, twice
// backward; tensor ranks gather each layer's tokens, expert ranks exchange them.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "plan/memory.hpp"

namespace conclave::plan::testing {

inline constexpr std::int64_t layers = 4, expert_count = 8;

inline ParamSpec parameter(const std::string& name, std::vector<std::int64_t> shape, std::vector<MeshDim> copies) {
  ParamSpec spec;
  spec.name = name;
  spec.shape = std::move(shape);
  spec.pieces = {{name,
                  spec.shape,
                  {std::vector<std::int64_t>(spec.shape.size(), 0), spec.shape},
                  {std::vector<std::int64_t>(spec.shape.size(), 0), spec.shape}}};
  spec.replicated_over = spec.grad_sum_over = std::move(copies);
  return spec;
}

class BlockStage final : public Stage {
 public:
  BlockStage(const StageRequest& request, bool says_work) : request_(request), says_work_(says_work) {}

  [[nodiscard]] StageDescription describe() const override {
    const Mesh& mesh = request_.mesh;
    StageDescription description;
    auto& all = description.parameters;
    const bool first = request_.chunk == 0, last = request_.chunk + 1 == request_.chunks;
    if (first) all.push_back(parameter("embed", {16, 64}, {MeshDim::data, MeshDim::tensor}));
    for (int layer = request_.chunk; layer < layers; layer += request_.chunks) {
      const std::string prefix = std::to_string(layer);
      all.push_back(parameter(prefix + ".norm", {64}, {MeshDim::data, MeshDim::tensor}));
      all.back().full_precision = true;
      all.push_back(parameter(prefix + ".dense", {64 / mesh.size(MeshDim::tensor), 64}, {MeshDim::data}));
      all.push_back(
          parameter(prefix + ".experts", {expert_count / mesh.size(MeshDim::expert), 64, 64}, {MeshDim::expert_data}));
    }
    if (last && !first) {
      all.push_back(parameter("embed", {16, 64}, {MeshDim::data, MeshDim::tensor}));
      all.back().tied_with = "embed";
    }
    if (last) {
      BufferSpec bias, load;
      bias.name = "bias";
      load.name = "load";
      bias.shape = load.shape = {8};
      load.dtype = at::kLong;
      load.use = BufferUse::counter;
      description.buffers = {bias, load};
    }
    return description;
  }
  [[nodiscard]] ActivationBytes activation_bytes(std::int64_t rows, std::int64_t length) const override {
    const std::int64_t tokens = rows * length / request_.mesh.size(MeshDim::tensor);
    const std::int64_t kept = request_.recompute == Recompute::layer ? 100 : 1000;
    return {layers / request_.chunks * kept * tokens, layers / request_.chunks * 300 * tokens};
  }
  [[nodiscard]] StageWork work(std::int64_t rows, std::int64_t length) const override {
    const double tokens = static_cast<double>(rows * length) / request_.mesh.size(MeshDim::tensor);
    const int own = static_cast<int>(layers) / request_.chunks;
    StageWork work;
    if (!says_work_) return work;
    const auto add = [&](PassWork& pass, int products) {
      pass.operators.push_back({OperatorWork::Kind::product, tokens * 8192, tokens * 256, products * own});
      for (const auto& [kind, dim] :
           {std::pair(Collective::all_gather, MeshDim::tensor), std::pair(Collective::all_to_all, MeshDim::expert)})
        if (request_.mesh.size(dim) > 1) pass.exchanges.push_back({kind, dim, tokens * 128, own});
    };
    add(work.forward, 1);
    add(work.backward, request_.recompute == Recompute::layer ? 3 : 2);
    return work;
  }
  [[nodiscard]] std::vector<std::int64_t> input_shape(std::int64_t rows, std::int64_t length) const override {
    if (request_.chunk == 0) return {};
    return {rows * length / request_.mesh.size(MeshDim::tensor), 64};
  }
  Status bind(StageStorage) override { return internal_error("not bound in these tests"); }
  StageOutput forward(const StageInput&) override { return {}; }

 private:
  StageRequest request_;
  bool says_work_;
};

class BlockModel final : public Model {
 public:
  bool says_work = true; ///< false: as a model without Stage::work()

  [[nodiscard]] Result<ModelSummary> summarize(const ModelShape&, const Mesh&) const override { return ModelSummary{}; }
  [[nodiscard]] Result<std::unique_ptr<Stage>> make_stage(const StageRequest& request) const override {
    const auto divides = [](const char* what, std::int64_t n, int parts) -> Status {
      if (n % parts == 0) return {};
      return invalid(std::to_string(n) + " " + what + " / " + std::to_string(parts) + " is not whole");
    };
    CONCLAVE_RETURN_IF_ERROR(divides("layers", layers, request.chunks));
    CONCLAVE_RETURN_IF_ERROR(divides("rows", 64, request.mesh.size(MeshDim::tensor)));
    CONCLAVE_RETURN_IF_ERROR(divides("experts", expert_count, request.mesh.size(MeshDim::expert)));
    return std::unique_ptr<Stage>(std::make_unique<BlockStage>(request, says_work));
  }
};

/// 16 sequences of 10 tokens in micro-batches of 1; bf16; an optimizer with two states.
struct Planned {
  Planned() {
    experiment.model.id = "model/block";
    experiment.checkpoint.id = "checkpoint/block";
    experiment.data.length.max = 10;
    experiment.train.steps = 100;
    experiment.train.batch = 16;
    experiment.train.micro_batch = 1;
    experiment.precision.compute = Compute::bf16;
  }
  [[nodiscard]] Subject subject() const { return {&experiment, &model, {true, {"m", "v"}}, {16, 10}}; }

  Experiment experiment;
  BlockModel model;
};

} // namespace conclave::plan::testing
