// A model with a fault that an option names: an embedding and a linear layer, one in each of two chunks, and a buffer that
// counts tokens. Only the conformance suite finds the faults out.
#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>

#include "conclave/model.hpp"
#include "conclave/ops/parameter.hpp"
using namespace conclave;
namespace {

enum class Fault { none, sink, contributions, chunks, gate };
struct Options {
  Fault fault = Fault::none;
};

ParamSpec whole(const char* name, std::vector<std::int64_t> shape) {
  const Box box{std::vector<std::int64_t>(shape.size(), 0), shape};
  ParamSpec spec;
  spec.name = name;
  spec.pieces = {{name, shape, box, box}};
  spec.shape = std::move(shape);
  return spec;
}

constexpr std::int64_t width = 8;

class Faulty final : public Stage {
 public:
  Faulty(const StageRequest& request, Fault fault) : request_(request), fault_(fault) {}

  [[nodiscard]] StageDescription describe() const override {
    StageDescription description;
    const std::int64_t vocabulary = request_.shape.vocabulary;
    if (first()) description.parameters.push_back(whole("embed.weight", {vocabulary, width}));
    if (!last()) return description;
    description.parameters.push_back(whole("head.weight", {vocabulary, width}));
    BufferSpec seen, total;
    seen.name = "seen";
    seen.dtype = at::kLong;
    seen.use = BufferUse::counter;
    total.name = "total";
    total.dtype = at::kDouble;
    description.buffers = {seen, total};
    return description;
  }

  Status bind(StageStorage storage) override {
    storage_ = std::move(storage);
    return {};
  }

  StageOutput forward(const StageInput& input) override {
    const Batch& batch = *input.batch;
    StageOutput output;
    const at::Tensor hidden = first() ? at::embedding(parameter(storage_.parameters.front()), batch.tokens)
                              : fault_ == Fault::chunks ? input.activations * 2 - input.activations.detach()
                                                        : input.activations;
    if (!last()) {
      output.activations = hidden;
      return output;
    }
    if (input.training) storage_.buffers[0].add_(batch.global_loss_tokens);
    const at::Tensor log_p = at::log_softmax(at::linear(hidden, parameter(storage_.parameters.back())), -1);
    const at::Tensor nll = log_p.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1).neg() * batch.loss_mask;
    output.local_losses.push_back({"cross_entropy", nll.sum(), 1.0, Normaliser::loss_tokens});
    output.token_nll = nll.detach();
    return output;
  }

  void update_buffers(const StepGate& gate) override {
    const at::Tensor seen = storage_.buffers[0].to(at::kDouble);
    storage_.buffers[1].add_(fault_ == Fault::gate ? seen : seen * gate.apply);
  }

 private:
  [[nodiscard]] bool first() const { return request_.chunk == 0; }
  [[nodiscard]] bool last() const { return request_.chunk == request_.chunks - 1; }
  /// The value is right with every fault; the gradient is not.
  [[nodiscard]] at::Tensor parameter(const BoundParam& bound) const {
    at::Tensor value = ops::as_variable(bound);
    if (bound.sink != nullptr && fault_ == Fault::sink) return value * 2 - value.detach();
    if (bound.sink != nullptr && fault_ == Fault::contributions) return value / 2 + ops::as_variable(bound) / 2;
    return value;
  }

  StageRequest request_;
  Fault fault_;
  StageStorage storage_;
};

class FaultyModel final : public Model {
 public:
  FaultyModel(HostContext&, const Options& options) : fault_(options.fault) {}
  Result<ModelSummary> summarize(const ModelShape& shape, const Mesh&) const override {
    ModelSummary summary;
    summary.parameters = summary.active_parameters = 2 * shape.vocabulary * width;
    summary.forward_flops_per_token = static_cast<double>(summary.parameters);
    return summary;
  }
  Result<std::unique_ptr<Stage>> make_stage(const StageRequest& request) const override {
    if (request.chunks > 2) return invalid("there are two layers", "use at most two chunks");
    return std::unique_ptr<Stage>(std::make_unique<Faulty>(request, fault_));
  }

 private:
  Fault fault_;
};

} // namespace
CONCLAVE_PLUGINS(describe_plugin<FaultyModel, Options>({"model/faulty", "1.0.0", 1, "A model for tests of the host.",
                                                        "Apache-2.0"},
                                                       OptionTableBuilder<Options>()
                                                           .choice("fault", &Options::fault,
                                                                   {{"none", Fault::none},
                                                                    {"sink", Fault::sink},
                                                                    {"contributions", Fault::contributions},
                                                                    {"chunks", Fault::chunks},
                                                                    {"gate", Fault::gate}})
                                                           .doc("What it does wrong.")
                                                           .build()))
