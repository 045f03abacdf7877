// Model and Stage: a network as a list of pipeline chunks.
//
// Life of a stage: make_stage() -> describe() (no allocation; `check` and `plan` stop here) -> the host allocates and fills
// storage -> bind() -> for each micro-batch forward(), then the host runs the backward pass from the losses -> after the
// last one update_buffers(). A model on one rank is one stage that is first and last.
//
// A stage computes with ordinary autograd on at::Tensor and may use the fused operators of conclave/ops. It allocates no
// parameters, keeps no state between calls but its buffers, and makes no host sync on a GPU.
//
// Threading: all calls on the step thread; the backward pass runs on autograd's threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "conclave/batch.hpp"
#include "conclave/host.hpp"
#include "conclave/parallel/group.hpp"
#include "conclave/param.hpp"
#include "conclave/plugin.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave {

/// Facts of the run that shape a model; the same on every rank.
struct ModelShape {
  std::int64_t vocabulary = 0; ///< true size, unpadded
  std::int64_t max_length = 0; ///< longest sequence
};

struct ModelSummary {
  std::int64_t parameters = 0;
  std::int64_t active_parameters = 0; ///< used by one token
  double forward_flops_per_token = 0; ///< multiply and add count two; attention at max_length, causal half
  int layers = 0;
  int experts = 0; ///< routed experts of a layer; 0 for a dense model
};

enum class Recompute { none, layer };

struct StageRequest {
  ModelShape shape;
  Mesh mesh;
  int chunk = 0; ///< of chunks; chunk 0 embeds, the last one has the loss
  int chunks = 1;
  at::ScalarType compute = at::kFloat; ///< type of activations and of parameters without full_precision
  at::ScalarType master = at::kFloat;  ///< kDouble in an fp64 run
  Recompute recompute = Recompute::none;
  Device device;
  /// For the stage's collectives; outlives it. Null where no tensor will be made (`check`) and where the mesh is one rank.
  std::shared_ptr<Groups> groups;
};

struct LossOptions {
  double label_smoothing = 0; ///< spread over the true vocabulary
  double z_loss = 0;          ///< weight of mean(logsumexp(logits)^2)
};

struct StageInput {
  const Batch* batch = nullptr; ///< every stage sees the metadata
  at::Tensor activations;       ///< of Stage::input_shape(), from the previous chunk; undefined for the first
  LossOptions loss;
  bool training = true; ///< false: evaluation, no statistics are counted
};

/// What a local loss is divided by, over the whole global batch.
enum class Normaliser { loss_tokens, sequences };

/// A term of the loss.
///
/// Over ranks: the sum is this data rank's part, and equal on every tensor rank of it, each of which computes it with its
/// own part of the network.
struct LocalLoss {
  std::string name;  ///< "cross_entropy", "load_balance", "router_z", ...
  at::Tensor sum;    ///< scalar, master type, differentiable: the sum over this micro-batch
  double weight = 1; ///< in the total loss
  Normaliser normaliser = Normaliser::loss_tokens;
};

struct StageOutput {
  at::Tensor activations; ///< for the next chunk; undefined for the last
  /// Seeded by the host with loss_scale * weight / normaliser. In training the same names in the same order each time; a
  /// term that does not apply to a batch is 0.
  std::vector<LocalLoss> local_losses;
  at::Tensor token_nll; ///< [B, S] fp32 (fp64), detached: -log p(label), no smoothing, 0 where masked; last stage only
  at::Tensor logits;    ///< [B, S, V] only when wants_logits() was called with true
};

struct StageDescription {
  std::vector<ParamSpec> parameters;
  std::vector<BufferSpec> buffers;
};

/// In the order of the description. Tensors are owned by the host and outlive the stage's use.
struct StageStorage {
  std::vector<BoundParam> parameters;
  std::vector<at::Tensor> buffers;
};

/// Device memory of one micro-batch in a stage, beside parameters, gradients and buffers.
struct ActivationBytes {
  std::int64_t kept = 0;    ///< from the end of its forward pass to its backward pass
  std::int64_t working = 0; ///< on top of that, the most that either pass needs while it runs
};

/// Operators of a stage that are alike: of one of the kinds whose speed differs.
struct OperatorWork {
  enum class Kind : std::uint8_t { product, grouped_product, attention, attention_backward, memory };
  Kind kind = Kind::memory;
  double flops = 0; ///< of each; multiply and add count two; 0 where only memory counts
  double bytes = 0; ///< of each, read and written at least
  int times = 1;    ///< how many
};

/// Collectives of a stage that are alike, each of which it waits for.
struct ExchangeWork {
  Collective kind = Collective::all_gather;
  MeshDim over = MeshDim::tensor;
  double bytes = 0; ///< of each: what a rank has before a reduction or an exchange, or after a gather
  int times = 1;
};

struct PassWork {
  std::vector<OperatorWork> operators;
  std::vector<ExchangeWork> exchanges;
  int host_waits = 0; ///< how often the host waits for the device, which then runs dry
};

/// Work of one micro-batch in a stage. What is computed again for the backward pass belongs to the backward pass.
struct StageWork {
  PassWork forward, backward;
};

class Stage {
 public:
  virtual ~Stage();
  [[nodiscard]] virtual StageDescription describe() const = 0;
  /// For `check` and `plan`, before anything is bound: for `rows` sequences of `length` tokens. Zeros: the model does not say.
  [[nodiscard]] virtual ActivationBytes activation_bytes(std::int64_t rows, std::int64_t length) const {
    (void)rows, (void)length;
    return {};
  }
  /// The same for times: what both passes compute, move and exchange. Empty: the model does not say.
  [[nodiscard]] virtual StageWork work(std::int64_t rows, std::int64_t length) const {
    (void)rows, (void)length;
    return {};
  }
  virtual Status bind(StageStorage storage) = 0;
  /// Shape of StageInput::activations for a micro-batch of `rows` sequences of `length` tokens, of the compute type; also what
  /// the chunk before gives. Empty: the first chunk, which takes none.
  [[nodiscard]] virtual std::vector<std::int64_t> input_shape(std::int64_t rows, std::int64_t length) const {
    (void)rows, (void)length;
    return {};
  }
  virtual StageOutput forward(const StageInput& input) = 0;
  /// After the step's gradients and counters are reduced: changes state buffers from counters, scaled by gate.apply.
  virtual void update_buffers(const StepGate& gate) { (void)gate; }
  /// For export tests and `conclave profile`.
  virtual void wants_logits(bool on) { (void)on; }
};

/// The Hugging Face form of a model: config.json's text (a JSON object; the host sets its `torch_dtype` to what it writes),
/// and how our global names are called there.
struct HuggingFaceForm {
  std::string config_json;
  std::function<std::string(const std::string& name)> rename;
};

class Model : public Plugin {
 public:
  static constexpr const char* kind = "model";
  ~Model() override;

  /// Refuses a shape or mesh that does not fit (heads not divisible, more chunks than layers) with the arithmetic shown.
  virtual Result<ModelSummary> summarize(const ModelShape& shape, const Mesh& mesh) const = 0;
  virtual Result<std::unique_ptr<Stage>> make_stage(const StageRequest& request) const = 0;
  /// An error says why the model has no such form.
  virtual Result<HuggingFaceForm> hugging_face(const ModelShape& shape, const SpecialTokens& special) const;
};

} // namespace conclave
