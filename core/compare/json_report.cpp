// JSON and CSV.

#include "compare/json_report.hpp"

#include <algorithm>

#include "compare/report.hpp"

namespace conclave::compare {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t most_points = 256; // of a curve

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json score(const DomainScore& score) {
  return {{"nll", number(score.nll)}, {"bits_per_byte", number(score.bits_per_byte)}};
}

double flops_a_token(const Run& run) { return run.summary.flops / run.summary.tokens; }

Json curve(const Run& run, std::size_t window) {
  Json steps = Json::array(), tokens = Json::array(), hours = Json::array(), flops = Json::array(), nll = Json::array();
  const std::vector<double> means = trailing_mean(run.curves.nll, window);
  const std::size_t stride = std::max<std::size_t>(1, (means.size() + most_points - 1) / most_points);
  for (std::size_t i = stride - 1; i < means.size(); i += stride) {
    steps.push_back(run.curves.step[i]);
    tokens.push_back(number(run.curves.tokens[i]));
    hours.push_back(number(run.curves.hours[i]));
    flops.push_back(number(run.curves.tokens[i] * flops_a_token(run)));
    nll.push_back(number(means[i]));
  }
  return {{"step", steps}, {"tokens", tokens}, {"hours", hours}, {"flops", flops}, {"nll", nll}};
}

Json run_json(const Comparison& all, const Run& run) {
  const Summary& s = run.summary;
  Json domains = Json::object();
  for (const auto& [domain, of_domain] : s.domains) domains[domain] = score(of_domain);
  Json json = {{"path", run.facts.path.string()},
               {"name", run.facts.name},
               {"sweep", run.facts.sweep},
               {"group", all.groups[run.group].letter},
               {"seed", run.facts.seed},
               {"state", to_string(run.facts.state)},
               {"attempts", run.facts.attempts},
               {"step", s.last_step},
               {"tokens", number(s.tokens)},
               {"hours", number(s.hours)},
               {"flops", number(s.flops)},
               {"train_nll", number(s.train_nll)},
               {"evaluated_step", s.evaluated_step},
               {"held_out", score(s.held_out)},
               {"domains", std::move(domains)},
               {"reached", nullptr},
               {"tokens_per_second", number(s.tokens_per_second)},
               {"peak_memory", run.facts.peak_memory > 0 ? Json(run.facts.peak_memory) : Json(nullptr)},
               {"expert_imbalance", number(s.imbalance)},
               {"parameters", run.facts.parameters},
               {"active_parameters", run.facts.active_parameters},
               {"marks", run.facts.marks}};
  if (s.reached)
    json["reached"] = {{"step", s.reached->step},
                       {"tokens", number(s.reached->tokens)},
                       {"hours", number(s.reached->hours)},
                       {"flops", number(s.reached->flops)}};
  return json;
}

Json verdict_json(const Comparison& all, const Verdict& verdict) {
  Json json = {{"baseline", all.groups[verdict.baseline].letter},
               {"group", all.groups[verdict.group].letter},
               {"outcome", to_string(verdict.outcome)},
               {"measure", verdict.measure},
               {"unit", verdict.unit},
               {"at", verdict.at},
               {"test", nullptr},
               {"seeds", verdict.seeds},
               {"speed_ratio", number(verdict.speed_ratio)},
               {"sentence", verdict.sentence}};
  if (verdict.test)
    json["test"] = {{"method", verdict.method},
                    {"difference", number(verdict.test->difference)},
                    {"half_width_95", number(verdict.test->half_width)},
                    {"p", number(verdict.test->p)},
                    {"p_adjusted", number(verdict.p_adjusted)},
                    {"degrees_of_freedom", number(verdict.test->freedom)}};
  return json;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}
std::string csv_cell(double value) { return std::isfinite(value) ? Json(value).dump() : std::string{}; }

} // namespace

Json as_json(const Comparison& comparison) {
  Json json = {{"schema", 1},
               {"baseline", comparison.groups[comparison.baseline].letter},
               {"target_loss", number(comparison.target_loss)},
               {"window", comparison.window},
               {"domains", comparison.domains},
               {"only_seeds", comparison.only_seeds},
               {"runs", Json::array()},
               {"groups", Json::array()},
               {"verdicts", Json::array()},
               {"differences", Json::array()},
               {"left_out", comparison.left_out}};
  for (const Run& run : comparison.runs) json["runs"].push_back(run_json(comparison, run));
  for (const Group& group : comparison.groups) {
    Json names = Json::array();
    for (const std::size_t index : group.runs) names.push_back(comparison.runs[index].facts.name);
    json["groups"].push_back({{"letter", group.letter},
                              {"label", group.label},
                              {"runs", std::move(names)},
                              {"seeds", group.counted.size()}});
  }
  for (const Verdict& verdict : comparison.verdicts) json["verdicts"].push_back(verdict_json(comparison, verdict));
  for (const Difference& difference : comparison.differences) {
    Json variants = Json::array();
    for (const Variant& variant : difference.variants)
      variants.push_back({{"value", variant.value}, {"origin", variant.origin}, {"whose", variant.whose}});
    json["differences"].push_back(
        {{"key", difference.key}, {"affects", difference.affects}, {"variants", std::move(variants)}});
  }
  return json;
}

std::string to_json(const Comparison& comparison) {
  Json json = as_json(comparison);
  for (std::size_t i = 0; i < comparison.runs.size(); ++i)
    json["runs"][i]["curve"] = curve(comparison.runs[i], comparison.window);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_csv(const Comparison& comparison) {
  std::string text =
      "group,label,run,seed,state,step,tokens,hours,flops,train_nll,held_out_nll,held_out_bits_per_byte,target_loss,"
      "step_to_target,tokens_to_target,hours_to_target,flops_to_target,tokens_per_second,peak_memory,expert_imbalance";
  for (const std::string& domain : comparison.domains)
    text += "," + csv_cell("nll_" + domain) + "," + csv_cell("bits_per_byte_" + domain);
  text += ",path\r\n";
  for (const Run& run : comparison.runs) {
    const Summary& s = run.summary;
    const Group& group = comparison.groups[run.group];
    std::string row = group.letter + "," + csv_cell(group.label) + "," + csv_cell(run.facts.name) + "," +
                      csv_cell(run.facts.seed) + "," + to_string(run.facts.state) + "," + std::to_string(s.last_step);
    for (const double value :
         {s.tokens, s.hours, s.flops, s.train_nll, s.held_out.nll, s.held_out.bits_per_byte, comparison.target_loss})
      row += "," + csv_cell(value);
    row += "," + (s.reached ? std::to_string(s.reached->step) : std::string{});
    for (const double value : {s.reached ? s.reached->tokens : not_known, s.reached ? s.reached->hours : not_known,
                               s.reached ? s.reached->flops : not_known, s.tokens_per_second})
      row += "," + csv_cell(value);
    row += "," + (run.facts.peak_memory > 0 ? std::to_string(run.facts.peak_memory) : std::string{}) + "," +
           csv_cell(s.imbalance);
    for (const std::string& domain : comparison.domains) {
      const auto found = s.domains.find(domain);
      const bool known = found != s.domains.end();
      row += "," + csv_cell(known ? found->second.nll : not_known) + "," +
             csv_cell(known ? found->second.bits_per_byte : not_known);
    }
    text += row + "," + csv_cell(run.facts.path.string()) + "\r\n";
  }
  return text;
}

} // namespace conclave::compare
