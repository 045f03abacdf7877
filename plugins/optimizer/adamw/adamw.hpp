// optimizer/adamw: Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization").
//
// Elementwise: works on flat segments of any cut. Weight decay applies to the decay class only. The formula and its order of
// operations are those of torch.optim.AdamW.
#pragma once

#include <vector>

#include "conclave/host.hpp"
#include "conclave/optimizer.hpp"
#include "conclave/options.hpp"

namespace conclave::adamw {

struct Options {
  double lr = 1e-4;
  std::vector<double> betas = {0.9, 0.98};
  double eps = 1e-6;
  double weight_decay = 0.1;
};

OptionTable option_table();

class AdamW final : public Optimizer {
 public:
  AdamW(HostContext& host, const Options& options);
  [[nodiscard]] OptimizerTraits traits() const override;
  [[nodiscard]] double peak_learning_rate() const override { return options_.lr; }
  void step(std::span<Segment> segments, const UpdateScalars& scalars) override;

 private:
  Options options_;
};

} // namespace conclave::adamw
