// StepSums: the one vector of a step that all ranks add up.
//
//   [0, parameters)  sums of squares of each parameter's gradient, in the order of all names of the model
//   counters         elements of each counter buffer, in the order of the pipeline
//   domains          negative log-likelihoods by domain
//   stops            ranks that were asked to stop
//   losses           sums of each local loss, in the order of the pipeline
//
// Each element of a gradient, each counted token and each loss is given by exactly one rank, so that one all-reduce in fp64
// makes the norm, the counters, the metrics and the wish to stop equal on every rank. Counts are exact (below 2^53). Under a
// pipeline alone every norm has one rank that gives it, so the vector, and what is added up in its order, has the bits of one
// rank.
//
// Threading: the step thread. Nothing here syncs with the host but make() and the first gather().
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/buffer_storage.hpp"
#include "train/step_metrics.hpp"
#include "train/storage.hpp"

namespace conclave::train {

struct SumsSettings {
  at::Device device = at::kCPU;
  std::size_t domains = 1;
  Mesh mesh;
  std::shared_ptr<Groups> groups; ///< null: one rank
  std::string model_id;           ///< for errors
};

/// A counter of the whole model, with the report that its description asks for.
struct CounterEntry {
  std::string name, report_as;
  int layer = -1;
  std::int64_t begin = 0, elements = 0; ///< in the vector
};

/// A local loss of the whole model.
struct LossEntry {
  std::string name;
  double weight = 1;
  Normaliser normaliser = Normaliser::loss_tokens;
};

class StepSums {
 public:
  /// Learns the names of all ranks of the pipeline. Collective.
  static Result<std::unique_ptr<StepSums>> make(const ParameterStorage& parameters,
                                                const std::vector<std::unique_ptr<BufferStorage>>& buffers,
                                                const SumsSettings& settings);

  /// Fills in what this rank gives, adds over all ranks, and writes the counters' sums back to the buffers. `stop`: scalar on
  /// the device, 1 where this rank was asked to stop. The losses of all ranks are learnt the first time. Collective.
  Status gather(const StepMetrics& metrics, const at::Tensor& stop);
  /// Sum of squares of the global gradient: fp64 scalar on the device.
  [[nodiscard]] at::Tensor sum_of_squares() const;
  /// Everything behind the norms, as it lies in the vector.
  [[nodiscard]] at::Tensor tail() const;

  // Where things lie in tail().
  [[nodiscard]] const std::vector<CounterEntry>& counters() const noexcept { return counters_; } ///< by layer
  [[nodiscard]] std::int64_t domains_begin() const noexcept { return counted_elements_; }
  [[nodiscard]] std::int64_t stop_place() const noexcept { return counted_elements_ + domains_; }
  [[nodiscard]] std::int64_t losses_begin() const noexcept { return counted_elements_ + domains_ + 1; }
  [[nodiscard]] const std::vector<LossEntry>& losses() const noexcept { return losses_; }

 private:
  StepSums() = default;
  Status learn_losses(const StepMetrics& metrics);
  void write_norms();

  SumsSettings settings_;
  bool first_tensor_rank_ = true; ///< of those that compute the same losses
  std::int64_t parameters_ = 0, counted_elements_ = 0, domains_ = 0;
  std::vector<at::Tensor> gradients_; ///< owned parts that this rank counts
  at::Tensor gradient_places_;        ///< [gradients] int64
  struct OwnCounter {
    at::Tensor values;
    std::int64_t begin = 0;
  };
  std::vector<OwnCounter> own_counters_;
  std::vector<CounterEntry> counters_;
  bool losses_known_ = false;
  std::vector<LossEntry> losses_;
  std::vector<std::int64_t> own_losses_; ///< place in `losses_` of each of this rank's
  at::Tensor values_;
};

} // namespace conclave::train
