// @ID@: predicts a token from the one before it (embedding, then a linear layer), as a start. Say here what yours is and
// is not.

#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>

#include "conclave/model.hpp"

namespace {

struct Options {
  conclave::Count width = 64;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("width", &Options::width)
      .at_least(1)
      .doc("Size of the embedding.")
      .build();
}

/// A parameter that is one whole tensor of this rank.
conclave::ParamSpec whole(std::string name, std::vector<std::int64_t> shape) {
  const conclave::Box box{std::vector<std::int64_t>(shape.size(), 0), shape};
  conclave::ParamSpec spec;
  spec.pieces = {{name, shape, box, box}};
  spec.name = std::move(name);
  spec.shape = std::move(shape);
  // Every data rank has a copy, and the gradient of its own part of the batch.
  spec.replicated_over = spec.grad_sum_over = {conclave::MeshDim::data};
  return spec;
}

class BigramStage final : public conclave::Stage {
 public:
  BigramStage(const conclave::StageRequest& request, std::int64_t width) : request_(request), width_(width) {}

  /// No allocation here: `check` and `plan` stop after it.
  [[nodiscard]] conclave::StageDescription describe() const override {
    const std::int64_t vocabulary = request_.shape.vocabulary;
    return {{whole("model.embed_tokens.weight", {vocabulary, width_}), whole("lm_head.weight", {vocabulary, width_})},
            {}};
  }

  conclave::Status bind(conclave::StageStorage storage) override {
    if (storage.parameters.size() != 2)
      return conclave::internal_error("bind() got other parameters than describe() named");
    embedding_ = storage.parameters[0].value;
    head_ = storage.parameters[1].value;
    return {};
  }

  conclave::StageOutput forward(const conclave::StageInput& input) override {
    const conclave::Batch& batch = *input.batch;
    const at::Tensor hidden = at::embedding(embedding_, batch.tokens);       // [B, S, width]
    const at::Tensor logits = at::linear(hidden, head_).to(request_.master); // [B, S, V]
    const at::Tensor log_p = at::log_softmax(logits, -1);
    const at::Tensor mask = batch.loss_mask.to(request_.master);
    const at::Tensor nll = log_p.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1).neg().mul(mask); // [B, S]

    conclave::StageOutput output;
    at::Tensor loss = nll.sum();
    if (const double epsilon = input.loss.label_smoothing; epsilon > 0) {
      const at::Tensor uniform = log_p.mean(-1).neg().mul(mask).sum();
      loss = loss.mul(1 - epsilon).add(uniform, epsilon);
    }
    output.local_losses.push_back({"cross_entropy", loss, 1.0, conclave::Normaliser::loss_tokens});
    if (input.loss.z_loss > 0) {
      const at::Tensor z = logits.logsumexp({-1}).square().mul(mask).sum();
      output.local_losses.push_back({"z", z, input.loss.z_loss, conclave::Normaliser::loss_tokens});
    }
    output.token_nll = nll.detach();
    if (wants_logits_) output.logits = logits;
    return output;
  }

  void wants_logits(bool on) override { wants_logits_ = on; }

 private:
  conclave::StageRequest request_;
  std::int64_t width_;
  at::Tensor embedding_, head_;
  bool wants_logits_ = false;
};

class @CLASS @final : public conclave::Model {
 public:
  @CLASS @(conclave::HostContext&, const Options& options) : options_(options) {
  }

  conclave::Result<conclave::ModelSummary> summarize(const conclave::ModelShape& shape, const conclave::Mesh& mesh)
      const override {
    if (mesh.world_size() != mesh.size(conclave::MeshDim::data))
      return conclave::unsupported("@ID@ splits nothing but the batch",
                                   "set parallel.tensor, pipeline and expert to 1");
    const double parameters = 2.0 * static_cast<double>(shape.vocabulary) * static_cast<double>(options_.width.value);
    conclave::ModelSummary summary;
    summary.parameters = summary.active_parameters = static_cast<std::int64_t>(parameters);
    summary.forward_flops_per_token = parameters; // the linear layer: 2 flops for half of the parameters
    summary.layers = 1;
    return summary;
  }

  conclave::Result<std::unique_ptr<conclave::Stage>> make_stage(const conclave::StageRequest& request) const override {
    if (request.chunks != 1)
      return conclave::unsupported("@ID@ has one layer, so one pipeline chunk", "set parallel.pipeline to 1");
    return std::unique_ptr<conclave::Stage>(std::make_unique<BigramStage>(request, options_.width));
  }

 private:
  Options options_;
};

} // namespace

CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS @, Options>({.id = "@ID@",
                                                               .version = "0.1.0",
                                                               .output_revision = 1,
                                                               .summary = "Predicts a token from the one before it.",
                                                               .licence = "MIT"},
                                                              table()))
