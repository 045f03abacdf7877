// The plugin: options, traits, and the choice between the forms of the update.

#include "adamw.hpp"

#include "update.hpp"

namespace conclave::adamw {

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("lr", &Options::lr)
      .range(0, 1)
      .doc("Peak learning rate; the scheduler scales it.")
      .opt("betas", &Options::betas)
      .length(2)
      .range(0, 1)
      .doc("Decay of the first and the second moment, each below 1.")
      .opt("eps", &Options::eps)
      .above(0)
      .doc("Added to the root of the second moment.")
      .opt("weight_decay", &Options::weight_decay)
      .at_least(0)
      .doc("Decoupled decay of matrices and embeddings; norms, biases and gates are not decayed.")
      .validate([](const Options& options, OptionReport& report) {
        for (const double beta : options.betas)
          if (beta >= 1)
            report.error("betas", "a moment with decay 1 never moves", "give values below 1, as 0.9 and 0.98");
        if (options.lr * options.weight_decay >= 1)
          report.error("weight_decay", "lr * weight_decay is 1 or more, so each step would wipe the weights out",
                       "lower one of the two");
      })
      .build();
}

AdamW::AdamW(HostContext&, const Options& options) : options_(options) {}

OptimizerTraits AdamW::traits() const {
  return {.elementwise = true, .states = {"exp_avg", "exp_avg_sq"}, .writes_values = true};
}

void AdamW::step(std::span<Segment> segments, const UpdateScalars& scalars) {
  for (Segment& segment : segments) {
    if (segment.master.numel() == 0) continue;
    const Coefficients coefficients{options_.betas[0], options_.betas[1], options_.eps,
                                    segment.decay == DecayClass::decay ? options_.weight_decay : 0.0};
    if (ops::adamw(segment, scalars, coefficients)) continue;
    if (segment.master.scalar_type() == at::kDouble && !segment.master.is_cpu()) {
      update_composed(segment, scalars, coefficients);
    } else {
      update_fused(segment, scalars, coefficients);
    }
    if (segment.value.defined()) segment.value.copy_(segment.master);
  }
}

} // namespace conclave::adamw

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::adamw::AdamW, conclave::adamw::Options>(
    {.id = "optimizer/adamw",
     .version = "1.0.0",
     .summary = "Adam with decoupled weight decay, as torch.optim.AdamW.",
     .licence = "MIT"},
    conclave::adamw::option_table()))
