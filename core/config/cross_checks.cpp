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

// Whether `named` is a domain; says so where it is not.
bool check_domain(const DataSection& data, const std::string& named, const Location& where, const std::string& key,
                  Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const DomainSection& domain : data.domains) names.push_back(domain.name);
  if (std::find(names.begin(), names.end(), named) != names.end()) return true;
  const std::string nearest = nearest_name(named, names);
  diagnostics.error(where, key, "there is no domain named " + named,
                    nearest.empty() ? "name one of data.domains" : "did you mean " + nearest + "?");
  return false;
}

void check_stage_shares(const DataSection& data, const CurriculumSection& stage, const Location& where,
                        const std::string& key, Diagnostics& diagnostics) {
  for (const auto& [name, share] : stage.shares) check_domain(data, name, where, key, diagnostics);
  std::string missing;
  for (const DomainSection& domain : data.domains)
    if (!stage.shares.contains(domain.name)) missing += (missing.empty() ? "" : ", ") + domain.name;
  if (!stage.shares.empty() && !missing.empty())
    diagnostics.error(where, key, "does not say the share of " + missing,
                      "name every domain; a share of 0 leaves one out");
}

void check_stage_length(const DataSection& data, std::int64_t length, const Location& where, const std::string& key,
                        Diagnostics& diagnostics) {
  const std::int64_t longest = data.length.max;
  const bool pack = data.batching.mode == BatchingMode::pack;
  if (length == longest) return;
  if (pack && data.batching.packing == Packing::best_fit)
    diagnostics.error(where, key,
                      "whole documents are packed for one length, data.length.max = " + std::to_string(longest),
                      "leave it out, or write batching: {packing: concat}");
  else if (length > longest || (pack && longest % length != 0))
    diagnostics.error(where, key,
                      std::to_string(length) + (pack ? " does not divide" : " is above") +
                          " data.length.max = " + std::to_string(longest),
                      pack ? "a sequence is cut into equal parts: write a divisor" : "lower it");
}

void check_curriculum(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics) {
  const DataSection& data = experiment.data;
  const Value* section = tree.find("data");
  const Value* written = section != nullptr ? section->find("curriculum") : nullptr;
  std::int64_t before = -1;
  for (std::size_t i = 0; i < data.curriculum.size(); ++i) {
    const CurriculumSection& stage = data.curriculum[i];
    const std::string key = "data.curriculum[" + std::to_string(i) + "]";
    const auto where = [&](const char* name) {
      return written != nullptr && i < written->items().size() ? locate(written->items()[i], {name}) : tree.where();
    };
    const std::int64_t from = stage.from.resolve(experiment.train.steps);
    if (from <= before)
      diagnostics.error(where("from"), key + ".from",
                        "begins at step " + std::to_string(from) + ", not behind the stage before it",
                        "write the stages in their order");
    else if (from >= experiment.train.steps)
      diagnostics.warning(where("from"), key + ".from", "is at step " + std::to_string(from) + ", when the run is over",
                          "lower it, or remove the stage");
    before = from;
    check_stage_shares(data, stage, where("shares"), key + ".shares", diagnostics);
    if (stage.length) check_stage_length(data, *stage.length, where("length"), key + ".length", diagnostics);
  }
}

void check_mixture(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics) {
  const DataSection& data = experiment.data;
  check_curriculum(experiment, tree, diagnostics);
  for (const std::string& name : data.fill_in_middle.domains)
    check_domain(data, name, locate(tree, {"data", "fill_in_middle", "domains"}), "data.fill_in_middle.domains",
                 diagnostics);
  for (const DomainSection& domain : data.domains)
    if (data.weights.rule != MixtureRule::given && domain.share != DomainSection{}.share)
      diagnostics.warning(locate(tree, {"data", "domains", domain.name, "share"}),
                          "data.domains." + domain.name + ".share",
                          "has no effect, since data.weights.rule computes the shares", "remove it");
}

} // namespace

void check_across_sections(const Experiment& experiment, const Value& tree, Diagnostics& diagnostics) {
  check_batch(experiment, tree, diagnostics);
  check_skipped_filters(experiment.data, tree, diagnostics);
  check_mixture(experiment, tree, diagnostics);
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
