// Reports to rows.

#include "jsonl.hpp"

#include <filesystem>

#include "row.hpp"

namespace conclave::jsonl {

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("file", &Options::file)
      .affects(Affects::io)
      .doc("Name of the file in the run directory.")
      .opt("labelled", &Options::labelled)
      .affects(Affects::io)
      .doc("Also write metrics with labels: shares of each domain, load of each expert.")
      .validate([](const Options& options, OptionReport& report) {
        if (options.file.empty() || options.file.find('/') != std::string::npos)
          report.error("file", "expected a plain file name", "leave out the folders");
      })
      .build();
}

Status Jsonl::start(const RunInfo& run) {
  CONCLAVE_ASSIGN(LineFile opened, LineFile::open(std::filesystem::path(run.directory) / options_.file));
  file_ = std::move(opened);
  attempt_ = run.attempt;
  if (file_->cut() > 0)
    host_.log(LogLevel::warning,
              "cut " + std::to_string(file_->cut()) + " bytes of an incomplete last line off " + options_.file);
  return file_->append(Row()
                           .add("event", "start")
                           .add("schema", schema_version)
                           .add("attempt", run.attempt)
                           .add("first_step", run.first_step)
                           .add("total_steps", run.total_steps)
                           .add("name", run.name)
                           .add("config_hash", run.config_hash)
                           .add("config_hash_without_seed", run.config_hash_without_seed)
                           .add("parameters", run.parameters)
                           .add("active_parameters", run.active_parameters)
                           .add("world_size", std::int64_t{run.world_size})
                           .text());
}

Status Jsonl::step(const StepReport& report) {
  return file_->append(Row()
                           .add("event", "step")
                           .add("step", report.step)
                           .add("attempt", report.attempt)
                           .add(report.metrics, options_.labelled)
                           .text());
}

Status Jsonl::evaluation(const EvaluationReport& report) {
  // Results by domain are the point of an evaluation, so `labelled` does not leave them out.
  return file_->append(Row()
                           .add("event", "evaluation")
                           .add("step", report.step)
                           .add("attempt", report.attempt)
                           .add(report.metrics, true)
                           .text());
}

Status Jsonl::flush() { return file_->sync(); }

Status Jsonl::checkpoint(std::int64_t step, const std::string& path) {
  return file_->append(
      Row().add("event", "checkpoint").add("step", step).add("attempt", attempt_).add("path", path).text());
}

Status Jsonl::finish(int exit_code) {
  if (!file_) return {};
  CONCLAVE_RETURN_IF_ERROR(file_->append(
      Row().add("event", "finish").add("attempt", attempt_).add("exit_code", std::int64_t{exit_code}).text()));
  return file_->sync();
}

} // namespace conclave::jsonl

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::jsonl::Jsonl, conclave::jsonl::Options>(
    {.id = "monitor/jsonl",
     .version = "1.0.0",
     .summary = "Writes every report as one line of metrics.jsonl.",
     .licence = "MIT"},
    conclave::jsonl::option_table()))
