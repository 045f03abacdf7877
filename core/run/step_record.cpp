// Step records to and from JSON lines.

#include "run/step_record.hpp"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/file_writer.hpp"

namespace conclave {

using nlohmann::json;

SentByGroup sent_by_group(const Groups* groups) {
  SentByGroup sent;
  if (groups == nullptr) return sent;
  for (const Group* group : groups->all())
    if (group->size() > 1) sent[group->name()] += group->traffic();
  return sent;
}

void StepRecorder::add(std::int64_t step, const StepResult& result) {
  RecordedStep& recorded = record_.steps.emplace_back();
  recorded.step = step;
  recorded.loss = result.loss;
  recorded.nll = result.nll;
  recorded.grad_norm = result.grad_norm;
  recorded.applied = result.applied;
  for (const StepResult::Counter& counter : result.counters)
    recorded.counters.emplace_back(counter.layer, counter.values);
}

Status StepRecorder::write(const std::filesystem::path& file, const SentByGroup& sent, std::int64_t peak_memory) const {
  std::string text;
  for (const RecordedStep& step : record_.steps)
    text += json{{"step", step.step},           {"loss", step.loss},       {"nll", step.nll},
                 {"grad_norm", step.grad_norm}, {"applied", step.applied}, {"counters", step.counters}}
                .dump() +
            "\n";
  json groups = json::object();
  for (const auto& [name, traffic] : sent)
    for (std::size_t kind = 0; kind < collective_count; ++kind)
      if (traffic.calls[kind] > 0)
        groups[name][to_string(static_cast<Collective>(kind))] = {{"calls", traffic.calls[kind]},
                                                                  {"bytes", traffic.bytes[kind]}};
  text += json{{"sent", std::move(groups)}, {"peak_memory", peak_memory}}.dump() + "\n";
  return write_file_atomically(file, text);
}

Result<StepRecord> read_step_record(const std::filesystem::path& file) {
  StepRecord record;
  std::ifstream in(file);
  const auto number = [](const json& object, const char* name) { // a number that is none is written as null
    const json& value = object.at(name);
    return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
  };
  bool whole = false;
  try {
    for (std::string line; std::getline(in, line);) {
      const json object = json::parse(line);
      if (object.contains("step")) {
        RecordedStep& step = record.steps.emplace_back();
        step.step = object.at("step");
        step.loss = number(object, "loss");
        step.nll = number(object, "nll");
        step.grad_norm = number(object, "grad_norm");
        step.applied = object.at("applied");
        step.counters = object.at("counters").get<decltype(step.counters)>();
        continue;
      }
      for (const auto& [name, kinds] : object.at("sent").items())
        for (std::size_t kind = 0; kind < collective_count; ++kind)
          if (const auto found = kinds.find(to_string(static_cast<Collective>(kind))); found != kinds.end()) {
            record.sent[name].calls[kind] = found->at("calls");
            record.sent[name].bytes[kind] = found->at("bytes");
          }
      record.peak_memory = object.at("peak_memory");
      whole = true;
    }
  } catch (const std::exception& wrong) {
    return storage_error(std::string("is no step record: ") + wrong.what(), "", file.string());
  }
  if (!whole) return storage_error("is missing or was cut short", "", file.string());
  return record;
}

} // namespace conclave
