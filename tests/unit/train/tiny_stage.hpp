// A stage small enough to reason about, an optimizer of three lines and a batch maker, for tests of the engine.
//
//   h = tanh(embed[token] w1^T + b1);  logits = (h w2^T) embed^T      the embedding is tied: used twice, described once
//   losses: cross_entropy (sum over tokens), extra = sum over sequences of mean(h^2) with weight 0.1
//   buffers: counter `load` [3] counts tokens modulo 3; state `bias` [3] grows by load when the gate is open
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/store.hpp"
#include "conclave/model.hpp"
#include "train/step_engine.hpp"

namespace conclave::testing {

inline constexpr std::int64_t vocabulary = 11, width = 4, hidden = 90; // w1 and w2 are cut by shards of 64

struct TinyStage : Stage {
  explicit TinyStage(at::ScalarType compute_type, at::ScalarType master_type)
      : compute(compute_type), master(master_type) {}
  [[nodiscard]] StageDescription describe() const override;
  Status bind(StageStorage storage) override;
  StageOutput forward(const StageInput& input) override;
  void update_buffers(const StepGate& gate) override;

  at::ScalarType compute, master;
  StageStorage bound;
  double loss_factor = 1; ///< inject an overflow or NaN into the cross entropy
  bool skip_bias = false; ///< leave b1 out: it gets no gradient
  bool throws = false;
};

/// Momentum: m = 0.9 m + g; w -= lr m. Refuses to move where the gate is closed.
struct Momentum final : Optimizer {
  explicit Momentum(bool flat = true) : elementwise(flat) {}
  [[nodiscard]] OptimizerTraits traits() const override { return {.elementwise = elementwise, .states = {"momentum"}}; }
  [[nodiscard]] double peak_learning_rate() const override { return 0.1; }
  void step(std::span<Segment> segments, const UpdateScalars& scalars) override;
  bool elementwise;
  std::vector<Segment> seen; ///< of the last step
};

/// One chunk; the ids are model/tiny, optimizer/momentum and scheduler/tiny.
EngineParts parts_of(std::unique_ptr<Stage> stage, std::shared_ptr<Optimizer> optimizer,
                     std::shared_ptr<const Scheduler> scheduler = nullptr);

struct Harness {
  explicit Harness(EngineSettings settings, bool elementwise = true);
  StepResult step(const data::HostStep& step); ///< throws std::runtime_error on an error
  TinyStage* stage = nullptr;
  std::shared_ptr<Momentum> optimizer;
  std::unique_ptr<StepEngine> engine;
};

EngineSettings settings_for(at::ScalarType compute);

/// `rows` sequences of 5 tokens, cut into micro-batches; the same tokens for the same (index, rows). The last token of every
/// third row is padding. Two domains, by row parity.
data::HostStep make_step(std::int64_t index, std::int64_t rows, std::int64_t micro_batches);

/// A checkpoint in memory.
class MemoryCheckpoint final : public CheckpointReader {
 public:
  explicit MemoryCheckpoint(const StepEngine& engine);
  [[nodiscard]] std::int64_t step() const override { return 0; }
  [[nodiscard]] const std::string& meta_json() const override { return meta_; }
  [[nodiscard]] const std::map<std::string, StateMap>& states() const override { return states_; }
  [[nodiscard]] std::vector<std::string> tensor_names() const override;
  [[nodiscard]] Result<std::vector<std::int64_t>> shape(const std::string& name) const override;
  [[nodiscard]] Result<at::ScalarType> dtype(const std::string& name) const override {
    return tensors.at(name).scalar_type();
  }
  Status read(const std::string& name, const std::vector<std::int64_t>& offset, at::Tensor out) const override;
  [[nodiscard]] Result<std::string> file(const std::string& name) const override { return invalid("no " + name); }
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

  std::map<std::string, at::Tensor> tensors; ///< whole global tensors
 private:
  std::map<std::string, StateMap> states_;
  std::string meta_;
  std::filesystem::path path_ = "memory";
};

} // namespace conclave::testing
