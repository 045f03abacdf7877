// Checks that span sections.

#include "config/cross_checks.hpp"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

namespace conclave {
namespace {

// Where the last part of the path that was written stands.
Location locate(const Value& tree, std::initializer_list<std::string_view> path) {
  const Value* at = &tree;
  for (const std::string_view key : path) {
    const Value* inner = at->is_map() ? at->find(key) : nullptr;
    if (inner == nullptr) break;
    at = inner;
  }
  return at->where();
}

void check_batch(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics) {
  const std::int64_t batch = experiment.train.batch, micro = experiment.train.micro_batch;
  const std::int64_t ranks = experiment.parallel.data; // 0: known only at the start, and checked again there
  if (batch <= 0) return;
  std::int64_t unit = 1;
  std::string product;
  if (ranks > 0 && micro > 0) {
    unit = micro * ranks; // fits: both are bounded by their options
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
      locate(tree, {"train", "batch"}), "train.batch", std::to_string(batch) + " is not a multiple of " + product,
      "write " + (below > 0 ? std::to_string(below) + " or " : std::string{}) + std::to_string(below + unit));
}

void check_skipped_filters(const DataSection& data, const Value& tree, Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const PluginBlock& filter : data.filters) names.push_back(filter.name);
  for (const DomainSection& domain : data.domains)
    for (const std::string& name : domain.skip_filters) {
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      const std::string nearest = nearest_name(name, names);
      diagnostics.error(locate(tree, {"data", "domains", domain.name, "skip_filters"}),
                        "data.domains." + domain.name + ".skip_filters", "there is no filter named " + name,
                        nearest.empty() ? "name one of data.filters" : "did you mean " + nearest + "?");
    }
}

} // namespace

void check_across_sections(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics) {
  check_batch(experiment, tree, diagnostics);
  check_skipped_filters(experiment.data, tree, diagnostics);
  // By value, not by what was written, so that a resolved experiment says the same as its origin.
  const PrecisionSection::LossScale& scale = experiment.precision.loss_scale;
  const PrecisionSection::LossScale defaults;
  const bool scale_changed = scale.initial != defaults.initial || scale.growth != defaults.growth ||
                             scale.backoff != defaults.backoff || scale.minimum != defaults.minimum ||
                             scale.interval != defaults.interval;
  if (scale_changed && experiment.precision.compute != Compute::fp16)
    diagnostics.warning(locate(tree, {"precision", "loss_scale"}), "precision.loss_scale",
                        "has no effect, since compute is not fp16", "remove it");
  if (experiment.data.held_out == 0 && experiment.evaluate.batches > 0)
    diagnostics.error(locate(tree, {"data", "held_out"}), "data.held_out", "is 0, but evaluate needs held-out text",
                      "write data: {held_out: 1%}, or evaluate: {batches: 0}");
  if (experiment.evaluate.every > experiment.train.steps && experiment.train.steps > 0)
    diagnostics.hint(locate(tree, {"evaluate", "every"}), "evaluate.every",
                     std::to_string(experiment.evaluate.every) + " is more than all steps: only the end is evaluated",
                     "lower it");
}

} // namespace conclave
