// Checks that span sections.

#include "config/cross_checks.hpp"

#include <string>

namespace conclave {
namespace {

// Where `section.key` was written, or its section, or the experiment.
Location locate(const Value& tree, const char* section, const char* key) {
  const Value* outer = tree.find(section);
  if (outer == nullptr) return tree.where();
  const Value* inner = outer->find(key);
  return inner != nullptr ? inner->where() : outer->where();
}

void check_batch(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics) {
  const std::int64_t batch = experiment.train.batch, micro = experiment.train.micro_batch;
  const std::int64_t ranks = experiment.parallel.data; // 0: known only at the start, and checked again there
  if (batch <= 0) return;
  std::int64_t unit = 1;
  std::string product;
  if (ranks > 0 && micro > 0) {
    unit = micro * ranks;
    product = "micro_batch x parallel.data = " + std::to_string(micro) + " x " + std::to_string(ranks) + " = " +
              std::to_string(unit);
  } else if (ranks > 0) {
    unit = ranks;
    product = "parallel.data = " + std::to_string(ranks);
  } else if (micro > 0) {
    unit = micro;
    product = "micro_batch = " + std::to_string(micro);
  }
  if (batch % unit == 0) return;
  const std::int64_t below = batch / unit * unit;
  diagnostics.error(
      locate(tree, "train", "batch"), "train.batch", std::to_string(batch) + " is not a multiple of " + product,
      "write " + (below > 0 ? std::to_string(below) + " or " : std::string{}) + std::to_string(below + unit));
}

} // namespace

void check_across_sections(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics) {
  check_batch(experiment, tree, diagnostics);
  // By value, not by what was written, so that a resolved experiment says the same as its origin.
  const PrecisionSection::LossScale& scale = experiment.precision.loss_scale;
  const PrecisionSection::LossScale defaults;
  const bool scale_changed = scale.initial != defaults.initial || scale.growth != defaults.growth ||
                             scale.backoff != defaults.backoff || scale.minimum != defaults.minimum ||
                             scale.interval != defaults.interval;
  if (scale_changed && experiment.precision.compute != Compute::fp16)
    diagnostics.warning(locate(tree, "precision", "loss_scale"), "precision.loss_scale",
                        "has no effect, since compute is not fp16", "remove it");
  if (experiment.data.held_out == 0 && experiment.evaluate.batches > 0)
    diagnostics.error(locate(tree, "data", "held_out"), "data.held_out", "is 0, but evaluate needs held-out text",
                      "write data: {held_out: 1%}, or evaluate: {batches: 0}");
  if (experiment.evaluate.every > experiment.train.steps && experiment.train.steps > 0)
    diagnostics.hint(locate(tree, "evaluate", "every"), "evaluate.every",
                     std::to_string(experiment.evaluate.every) + " is more than all steps: only the end is evaluated",
                     "lower it");
}

} // namespace conclave
