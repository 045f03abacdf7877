// The advice of the seed run: warm-up of 5 to 10 % of the steps, peak learning rate 1e-4 to 5e-5 around 10B parameters,
// gradient norm clipped at 0.5 to 1.

#include "config/advice.hpp"

#include <glob.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

#include "conclave/options.hpp"
#include "config/keys.hpp"
#include "config/yaml_reader.hpp"

namespace conclave {
namespace {

// "7.5 %" and "10.2B", short.
std::string short_number(double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.3g", value);
  return buffer.data();
}

Location written(const Experiment& experiment, std::initializer_list<const char*> path) {
  const Value* at = &experiment.tree;
  Location where = at->where();
  for (const char* key : path) {
    at = at->find(key);
    if (at == nullptr) break;
    where = at->where();
  }
  return where;
}

void advise_warmup(const Experiment& experiment, const AdviceInput& input, Diagnostics& diagnostics) {
  constexpr double least = 0.05, most = 0.10;
  if (input.warmup_steps < 0 || input.total_steps <= 0) return;
  const std::int64_t warmup = input.warmup_steps;
  const Location where = written(experiment, {"scheduler", "with", "warmup"});
  if (warmup > input.total_steps) {
    diagnostics.hint(where, "scheduler",
                     "the warm-up takes " + std::to_string(warmup) + " steps of " + std::to_string(input.total_steps),
                     "make it shorter than train.steps");
    return;
  }
  const double share = static_cast<double>(warmup) / static_cast<double>(input.total_steps);
  if (share >= least && share <= most) return;
  diagnostics.hint(
      where, "scheduler",
      warmup == 0 ? "there is no warm-up" : "the warm-up takes " + short_number(100 * share) + " % of the steps",
      "5 to 10 % served runs like this one well: " +
          std::to_string(static_cast<std::int64_t>(least * static_cast<double>(input.total_steps))) + " to " +
          std::to_string(static_cast<std::int64_t>(most * static_cast<double>(input.total_steps))) + " steps");
}

void advise_learning_rate(const Experiment& experiment, const AdviceInput& input, Diagnostics& diagnostics) {
  // "10B-class": within a factor of about two.
  constexpr std::int64_t class_begin = 5'000'000'000, class_end = 20'000'000'000;
  constexpr double least = 5e-5, most = 1e-4;
  if (input.peak_learning_rate <= 0 || input.parameters < class_begin || input.parameters > class_end) return;
  const double rate = input.peak_learning_rate;
  if (rate >= least && rate <= most) return;
  diagnostics.hint(written(experiment, {"optimizer", "with", "lr"}), "optimizer",
                   "the peak learning rate is " + detail::Codec<double>::render(rate) + " for " +
                       short_number(static_cast<double>(input.parameters) / 1e9) + "B parameters",
                   "5e-5 to 1e-4 served models of this size well");
}

void advise_clip(const Experiment& experiment, const AdviceInput& input, Diagnostics& diagnostics) {
  constexpr double least = 0.5, most = 1.0;
  if (input.clip_grad_norm >= least && input.clip_grad_norm <= most) return;
  const std::string what = input.clip_grad_norm == 0
                               ? "gradients are not clipped"
                               : "gradients are clipped at " + detail::Codec<double>::render(input.clip_grad_norm);
  diagnostics.hint(written(experiment, {"train", "clip_grad_norm"}), "train.clip_grad_norm", what,
                   "0.5 to 1.0 served runs like this one well");
}

// True when something on this machine matches the path or glob pattern. glob(3) does not know `**`: of such a pattern the
// folder before it counts.
bool anything_at(std::string pattern) {
  if (const std::size_t stars = pattern.find("**"); stars != std::string::npos)
    pattern.resize(pattern.find_last_of('/', stars) + 1);
  glob_t found{};
  const int result = ::glob(pattern.c_str(), GLOB_NOSORT | GLOB_BRACE, nullptr, &found);
  ::globfree(&found);
  return result == 0;
}

void advise_block(const PluginBlock& block, const Value* written_block, Diagnostics& diagnostics) {
  if (!block) return;
  const Value* with = written_block != nullptr ? written_block->find("with") : nullptr;
  for (const OptionSpec& spec : block.descriptor->options.specs()) {
    const bool path =
        spec.type == OptionType::path || (spec.type == OptionType::list && spec.element == OptionType::path);
    const Value* value = with != nullptr ? with->find(spec.name) : nullptr;
    if (!path || value == nullptr || (spec.affects != Affects::numerics && spec.affects != Affects::selection))
      continue;
    Diagnostics ignored;
    const auto rendered = parse_yaml(spec.render(block.options.get()), "rendered", ignored);
    if (!rendered) continue;
    const std::vector<Value> entries = rendered->is_list() ? rendered->items() : std::vector<Value>{*rendered};
    for (const Value& entry : entries)
      if (!entry.text().empty() && entry.text().find("://") == std::string::npos && !anything_at(entry.text()))
        diagnostics.hint(value->where(), join_key(block.key, "with." + spec.name),
                         "there is nothing at " + entry.text() + " on this machine", "`run` needs it");
  }
}

} // namespace

void add_advice(const AdviceInput& input, const Experiment& experiment, Diagnostics& diagnostics) {
  advise_warmup(experiment, input, diagnostics);
  advise_learning_rate(experiment, input, diagnostics);
  advise_clip(experiment, input, diagnostics);
}

void add_path_hints(const Experiment& experiment, Diagnostics& diagnostics) {
  const Value* data = experiment.tree.find("data");
  const Value* domains = data != nullptr ? data->find("domains") : nullptr;
  for (const DomainSection& domain : experiment.data.domains) {
    const Value* written_domain = domains != nullptr ? domains->find(domain.name) : nullptr;
    advise_block(domain.source, written_domain != nullptr ? written_domain->find("source") : nullptr, diagnostics);
  }
  const Value* filters = data != nullptr ? data->find("filters") : nullptr;
  for (std::size_t i = 0; i < experiment.data.filters.size(); ++i)
    advise_block(experiment.data.filters[i],
                 filters != nullptr && i < filters->items().size() ? &filters->items()[i] : nullptr, diagnostics);
  advise_block(experiment.data.tokenizer, data != nullptr ? data->find("tokenizer") : nullptr, diagnostics);
  advise_block(experiment.model, experiment.tree.find("model"), diagnostics);
}

} // namespace conclave
