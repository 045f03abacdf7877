// Override chains and differences, from the settings and history of resolved experiments.

#include "config/explain.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "config/keys.hpp"
#include "config/sections.hpp"

namespace conclave {
namespace {

// A value of an earlier layer as one line.
std::string short_text(const Value& value) {
  constexpr std::size_t longest = 200;
  std::string text;
  switch (value.kind()) {
    case Value::Kind::null: return "null";
    case Value::Kind::scalar: text = value.quoted() ? detail::render_text(value.text()) : value.text(); break;
    case Value::Kind::list:
      for (const Value& item : value.items()) text += (text.empty() ? "[" : ", ") + short_text(item);
      text += text.empty() ? "[]" : "]";
      break;
    case Value::Kind::map:
      for (const Value::Member& member : value.members())
        text += (text.empty() ? "{" : ", ") + member.key + ": " + short_text(member.value);
      text += text.empty() ? "{}" : "}";
      break;
  }
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  return text;
}

bool is_under(const std::string& key, const std::string& prefix) {
  return key == prefix || (key.starts_with(prefix) && (key[prefix.size()] == '.' || key[prefix.size()] == '['));
}

// The option at that dotted key, through groups and the entries of maps of groups; or null.
const OptionSpec* find_spec(const std::vector<OptionSpec>& specs, std::string_view key) {
  const std::string_view name = key.substr(0, key.find('.'));
  for (const OptionSpec& spec : specs) {
    if (spec.name != name) continue;
    if (name == key) return &spec;
    if (spec.type == OptionType::map && spec.fields.empty()) return &spec; // one of its entries
    std::string_view rest = key.substr(name.size() + 1);
    if (spec.type == OptionType::map)
      rest.remove_prefix(rest.find('.') + 1); // the entry's name; a lone one is no option
    return find_spec(spec.fields, rest);
  }
  return nullptr;
}

const OptionSpec* find_spec(const PluginBlock& block, const std::string& key) {
  const std::string prefix = block.key + ".with.";
  if (!block || !key.starts_with(prefix)) return nullptr;
  for (const PluginBlock::BoundChild& child : block.children)
    if (const OptionSpec* found = find_spec(child.block, key)) return found;
  return find_spec(block.descriptor->options.specs(), std::string_view(key).substr(prefix.size()));
}

// The documentation of an option, or "".
std::string doc_of(const Experiment& experiment, const std::string& key) {
  if (const OptionSpec* spec = find_spec(experiment_table().specs(), key)) return spec->doc;
  std::vector<const PluginBlock*> blocks = {&experiment.data.tokenizer, &experiment.model, &experiment.optimizer,
                                            &experiment.scheduler, &experiment.checkpoint};
  for (const DomainSection& domain : experiment.data.domains) blocks.push_back(&domain.source);
  for (const PluginBlock& block : experiment.data.filters) blocks.push_back(&block);
  for (const PluginBlock& block : experiment.monitors) blocks.push_back(&block);
  for (const PluginBlock* block : blocks)
    if (const OptionSpec* spec = find_spec(*block, key)) return spec->doc;
  return {};
}

// The variables by dotted key, maps by their members.
void add_variables(const Value& value, const std::string& key, std::map<std::string, Value>& variables) {
  if (!value.is_map()) variables.emplace(key, value);
  for (const Value::Member& member : value.members()) add_variables(member.value, join_key(key, member.key), variables);
}

// With the variables that stand in it.
std::string place_of(const Value& value, const Experiment& experiment) {
  const auto& places = experiment.substituted.variables;
  const auto inner = places.find(site_of(value.where()));
  return (inner == places.end() ? "" : inner->second + "; ") + value.where().render();
}

} // namespace

Result<std::string> explain_key(const Experiment& experiment, const std::string& key) {
  std::map<std::string, Value> variables;
  add_variables(experiment.substituted.vars, "vars", variables);
  std::set<std::string> keys;
  for (const auto& [known, value] : variables)
    if (is_under(known, key)) keys.insert(known);
  for (const auto& [known, setting] : experiment.settings)
    if (is_under(known, key)) keys.insert(known);
  for (const auto& [known, overridden] : experiment.history)
    if (is_under(known, key)) keys.insert(known);
  if (keys.empty()) {
    std::vector<std::string> names;
    for (const auto& [known, setting] : experiment.settings) {
      names.push_back(known);
      // Sections, too: `trian` means train.
      for (std::size_t dot = known.find('.'); dot != std::string::npos; dot = known.find('.', dot + 1))
        names.push_back(known.substr(0, dot));
    }
    for (const auto& [known, value] : variables) names.push_back(known);
    const std::string nearest = nearest_name(key, names);
    return invalid("the experiment has no key '" + key + "'",
                   nearest.empty() ? "`conclave config show` lists all keys" : "did you mean " + nearest + "?");
  }
  std::string text;
  for (const std::string& known : keys) {
    const auto setting = experiment.settings.find(known);
    if (setting != experiment.settings.end())
      text += known + " = " + setting->second.value + "  (" + to_string(setting->second.affects) + ", " +
              setting->second.origin + ")\n";
    else if (const auto variable = variables.find(known); variable != variables.end())
      text += known + " = " + short_text(variable->second) + "  (variable, " + place_of(variable->second, experiment) +
              ")\n";
    else
      text += known + " is not set\n";
    if (const auto history = experiment.history.find(known); history != experiment.history.end())
      for (const Overridden& old : history->second)
        text += "    was " + short_text(old.value) + "  (" + old.value.where().render() + "; " + old.why + " by " +
                old.by.render() + ")\n";
    if (keys.size() == 1)
      if (const std::string doc = doc_of(experiment, known); !doc.empty()) text += "    " + doc + "\n";
  }
  return text;
}

std::string diff_settings(const Experiment& a, const Experiment& b) {
  static constexpr std::array<Affects, 5> groups = {Affects::numerics, Affects::selection, Affects::speed, Affects::io,
                                                    Affects::naming};
  struct Row {
    std::string key, left, right;
  };
  std::set<std::string> keys;
  for (const auto& [key, setting] : a.settings) keys.insert(key);
  for (const auto& [key, setting] : b.settings) keys.insert(key);
  std::string text;
  for (const Affects group : groups) {
    std::vector<Row> rows;
    std::size_t key_width = 0, left_width = 0;
    for (const std::string& key : keys) {
      const auto left = a.settings.find(key), right = b.settings.find(key);
      const bool in_a = left != a.settings.end(), in_b = right != b.settings.end();
      if ((in_a ? left->second.affects : right->second.affects) != group) continue;
      if (in_a && in_b && left->second.value == right->second.value) continue;
      rows.push_back({key, in_a ? left->second.value : "-", in_b ? right->second.value : "-"});
      key_width = std::max(key_width, key.size());
      left_width = std::max(left_width, rows.back().left.size());
    }
    if (rows.empty()) continue;
    text += std::string("affects ") + to_string(group) + ":\n";
    for (const Row& row : rows)
      text += "  " + row.key + std::string(key_width - row.key.size() + 2, ' ') + row.left +
              std::string(left_width - row.left.size() + 2, ' ') + "| " + row.right + "\n";
  }
  return text;
}

} // namespace conclave
