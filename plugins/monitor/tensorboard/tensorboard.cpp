// Reports to events.

#include "tensorboard.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "protobuf.hpp"

namespace conclave::tensorboard {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// TensorBoard sorts the files of a folder by name and follows the last one: time first, then the attempt.
std::string file_name(double wall_time, std::int64_t attempt) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = 'h';
  char text[400];
  std::snprintf(text, sizeof text, "events.out.tfevents.%010lld.%s.%d.%lld", static_cast<long long>(wall_time),
                host.data(), static_cast<int>(::getpid()), static_cast<long long>(attempt));
  return text;
}

bool is_per_expert(const Metric& metric) {
  return std::any_of(metric.labels.begin(), metric.labels.end(),
                     [](const auto& label) { return label.first == "expert"; });
}

} // namespace

std::string tag_of(const char* prefix, const Metric& metric) {
  // `eval_` is for logs without pages; here the prefix says it.
  std::string tag =
      std::string(prefix) + "/" + (metric.name.starts_with("eval_") ? metric.name.substr(5) : metric.name);
  for (const auto& [label, value] : metric.labels) tag += "/" + value;
  return tag;
}

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("directory", &Options::directory)
      .affects(Affects::io)
      .doc("Folder of the event files, relative to the run directory.")
      .opt("every", &Options::every)
      .at_least(1)
      .affects(Affects::io)
      .doc("Write every so many steps (and the last).")
      .opt("experts", &Options::experts)
      .affects(Affects::io)
      .doc("Also write the load of each expert; without it, the fullest expert's load over the mean for each layer.")
      .opt("hparams", &Options::hparams)
      .affects(Affects::io)
      .doc("Write the resolved experiment for the hyper-parameters page.")
      .build();
}

Status Tensorboard::start(const RunInfo& run) {
  const auto folder = std::filesystem::path(run.directory) / options_.directory;
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed)
    return storage_error("cannot make the folder: " + failed.message(), "make the run directory writable",
                         folder.string());
  const double time = now();
  CONCLAVE_ASSIGN(EventFile created, EventFile::create(folder / file_name(time, run.attempt)));
  file_ = std::move(created);
  total_steps_ = run.total_steps;
  CONCLAVE_RETURN_IF_ERROR(file_->append(version_event(time)));
  if (run.attempt > 0) // what an earlier attempt wrote from there on is computed again
    CONCLAVE_RETURN_IF_ERROR(file_->append(restart_event(time, run.first_step + 1)));
  if (options_.hparams)
    CONCLAVE_RETURN_IF_ERROR(file_->append(session_start_event(time, run.settings, run.config_hash_without_seed)));
  return {};
}

Status Tensorboard::step(const StepReport& report) {
  if (report.step % options_.every.value != 0 && report.step != total_steps_) return {};
  std::vector<std::pair<std::string, float>> scalars;
  for (const Metric& metric : report.metrics)
    if (options_.experts || !is_per_expert(metric))
      scalars.emplace_back(tag_of("train", metric), static_cast<float>(metric.value));
  for (const Metric& ratio : report.expert_imbalance())
    scalars.emplace_back(tag_of("train", ratio), static_cast<float>(ratio.value));
  return file_->append(scalars_event(now(), report.step, scalars));
}

Status Tensorboard::evaluation(const EvaluationReport& report) {
  std::vector<std::pair<std::string, float>> scalars;
  for (const Metric& metric : report.metrics)
    scalars.emplace_back(tag_of("evaluation", metric), static_cast<float>(metric.value));
  return file_->append(scalars_event(now(), report.step, scalars));
}

Status Tensorboard::flush() { return file_ ? file_->sync() : Status{}; }

Status Tensorboard::finish(int exit_code) {
  if (!file_) return {};
  if (options_.hparams)
    CONCLAVE_RETURN_IF_ERROR(
        file_->append(session_end_event(now(), exit_code == 0 ? SessionStatus::success : SessionStatus::failure)));
  return file_->sync();
}

} // namespace conclave::tensorboard

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::tensorboard::Tensorboard, conclave::tensorboard::Options>(
    {.id = "monitor/tensorboard",
     .version = "1.0.0",
     .summary = "Writes scalars and hyper-parameters as TensorBoard event files.",
     .licence = "MIT"},
    conclave::tensorboard::option_table()))
