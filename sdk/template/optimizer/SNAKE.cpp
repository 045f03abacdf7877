// @ID@: gradient descent with decoupled weight decay, as a start. Say here what yours is and is not.

#include "conclave/optimizer.hpp"

namespace {

struct Options {
  double lr = 1e-2;
  double weight_decay = 0.01;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("lr", &Options::lr)
      .range(0, 10)
      .doc("Peak learning rate; the scheduler scales it.")
      .opt("weight_decay", &Options::weight_decay)
      .range(0, 1)
      .doc("Decay of the weights by lr * weight_decay in each step.")
      .build();
}

class @CLASS@ final : public conclave::Optimizer {
 public:
  @CLASS@(conclave::HostContext&, const Options& options) : options_(options) {}

  /// Elementwise: segments may be any flat ranges. Name states here to get tensors for them.
  [[nodiscard]] conclave::OptimizerTraits traits() const override { return {.elementwise = true, .states = {}}; }
  [[nodiscard]] double peak_learning_rate() const override { return options_.lr; }

  /// No host sync: the gate and the scalars stay on the device. Where apply is 0 nothing may change, also when gradients
  /// are not finite; hence a selection and not a product.
  void step(std::span<conclave::Segment> segments, const conclave::UpdateScalars& scalars) override {
    const at::Tensor apply = scalars.gate->apply.gt(0);
    for (conclave::Segment& segment : segments) {
      const at::Tensor gradient = segment.gradient.mul(scalars.gate->gradient_scale);
      const double decay = segment.decay == conclave::DecayClass::decay ? options_.weight_decay : 0.0;
      const at::Tensor direction = gradient.add(segment.master, decay);
      const at::Tensor updated = segment.master.sub(direction.mul(scalars.learning_rate));
      segment.master.copy_(updated.where(apply, segment.master));
    }
  }

 private:
  Options options_;
};

} // namespace

CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS@, Options>(
    {.id = "@ID@", .version = "0.1.0", .output_revision = 1, .summary = "Gradient descent with weight decay.", .licence = "MIT"}, table()))
