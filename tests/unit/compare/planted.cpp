#include "unit/compare/planted.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

namespace conclave::testing {

using nlohmann::json;

std::filesystem::path plant(const testkit::TemporaryDir& root, const Planted& run) {
  const auto setting = [](const std::string& value, const char* affects) {
    return json{{"value", value}, {"origin", "x.yaml:1:1"}, {"affects", affects}};
  };
  json settings = {{"seed", setting(run.seed, "numerics")},
                   {"train.steps", setting(std::to_string(run.steps), "numerics")},
                   {"name", setting(run.name, "naming")}};
  for (const auto& [key, value] : run.numerics) settings[key] = setting(value, "numerics");
  for (const auto& [key, value] : run.speed_settings) settings[key] = setting(value, "speed");
  const json record = {{"schema", 1},
                       {"name", "planted"},
                       {"config_hash", run.name},
                       {"settings", settings},
                       {"attempts",
                        {{{"machine", {{"host", "elsewhere"}}},
                          {"model", {{"parameters", 100}, {"active_parameters", 50}, {"flops_per_token", 300}}},
                          {"data", {{"order", run.data_order + run.seed}, {"store", run.data_order}}},
                          {"cost", {{"peak_memory", 1'000'000}}}}}}};
  root.write(run.name + "/record.json", record.dump());
  const std::int64_t reached = run.reached < 0 ? run.steps : run.reached;
  std::string rows = json{{"event", "start"}, {"schema", 1}, {"attempt", 0}, {"first_step", 0}}.dump() + "\n";
  for (std::int64_t step = 1; step <= reached; ++step)
    rows += json{{"event", "step"},
                 {"step", step},
                 {"attempt", 0},
                 {"nll", run.nll(step)},
                 {"loss", run.nll(step)},
                 {"tokens", 100},
                 {"step_seconds", 100 / run.speed},
                 {"tokens_per_second", run.speed},
                 {"expert_load_by_layer_expert", {{"0", {{"0", 30}, {"1", 10}}}, {"1", {{"0", 20}, {"1", 20}}}}}}
                .dump() +
            "\n";
  if (std::isfinite(run.held_out))
    rows += json{{"event", "evaluation"},
                 {"step", reached},
                 {"attempt", 0},
                 {"eval_nll", run.held_out},
                 {"eval_bits_per_byte", run.held_out / 2},
                 {"eval_nll_by_domain", {{"web", run.held_out}}},
                 {"eval_bits_per_byte_by_domain", {{"web", run.held_out / 2}}}}
                .dump() +
            "\n";
  root.write(run.name + "/metrics.jsonl", rows);
  if (run.exit_code >= 0)
    root.write(run.name + "/exit.0.json",
               json{{"code", run.exit_code}, {"reason", "done"}, {"step", reached}, {"attempt", 0}}.dump());
  return root.path() / run.name;
}

} // namespace conclave::testing
