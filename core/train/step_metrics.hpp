// StepMetrics: what the micro-batches of a step add up to on the device, and its trip to the host.
//
// Everything is accumulated in fp64 scalars on the device. What this is not: sums over ranks (step_sums.hpp), or a report for
// monitors; run/ makes that.
//
// Threading: the step thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>
#include <vector>

#include "conclave/model.hpp"

namespace conclave::train {

/// Sums of one kind of local loss over the step's micro-batches, which all have the same weight and normaliser.
struct LossSum {
  std::string name;
  double weight = 1;
  Normaliser normaliser = Normaliser::loss_tokens;
  at::Tensor sum; ///< fp64 scalar on the device
};

class StepMetrics {
 public:
  /// `chunks`: the stages of this rank, each of which has losses of its own.
  StepMetrics(std::size_t domains, at::Device device, std::size_t chunks = 1);

  /// Zeroes all sums. To be called each step outside of what is recorded: a loss may be younger than the recording.
  void begin();
  /// Of one micro-batch of a chunk; `output` may lack token_nll (not the last chunk). The first one makes the sums, which stay
  /// at their addresses for good: what a recording adds to is what losses() returns after a replay. Another set of losses
  /// than the chunk's first one's is Code::internal: a run that goes on from a checkpoint would report another one.
  Status add(const StageOutput& output, const Batch& batch, std::size_t chunk = 0);
  /// In the order in which the stages gave them first; a loss that several chunks give is one sum.
  [[nodiscard]] const std::vector<LossSum>& losses() const noexcept { return losses_; }
  [[nodiscard]] const at::Tensor& domain_nll() const noexcept { return domain_nll_; } ///< [domains] fp64

 private:
  struct Chunk {
    bool known = false;              // which losses it has
    std::vector<std::size_t> losses; // of losses_, in its order
  };
  std::size_t place(const LocalLoss& loss);

  at::Tensor domain_ids_; ///< [domains, 1]
  at::Tensor domain_nll_;
  std::vector<Chunk> chunks_;
  std::vector<LossSum> losses_;
};

/// Sum of token_nll [B, S] by domain: [domains] fp64. Domains without a sequence get 0; addition order is fixed.
at::Tensor nll_by_domain(const at::Tensor& token_nll, const at::Tensor& domains, const at::Tensor& domain_ids);

/// Joins scalars and vectors of any type into one fp64 vector on the host, with one wait for the device. Undefined ones are
/// left out.
std::vector<double> read_packed(const std::vector<at::Tensor>& parts);

} // namespace conclave::train
