// Settings of runs side by side.

#include "compare/grouping.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace conclave::compare {
namespace {

bool sets_numbers(Affects affects) { return affects == Affects::numerics || affects == Affects::selection; }

/// The settings of those kinds, but the seed, as one text.
std::string recipe(const RunFacts& facts, bool with_speed) {
  std::string text;
  for (const auto& [key, setting] : facts.settings)
    if (key != "seed" && (sets_numbers(setting.affects) || (with_speed && setting.affects == Affects::speed)))
      text += key + "=" + setting.value + "\n";
  return text;
}

/// `lr` of `optimizer.with.lr`, `optimizer` of `optimizer.use`.
std::string short_key(const std::string& key) {
  std::size_t end = key.size();
  if (key.ends_with(".use")) end -= 4;
  const std::size_t dot = key.rfind('.', end - 1);
  return key.substr(dot == std::string::npos ? 0 : dot + 1, end - (dot == std::string::npos ? 0 : dot + 1));
}

std::string value_of(const RunFacts& facts, const std::string& key) {
  const auto found = facts.settings.find(key);
  return found == facts.settings.end() ? "-" : found->second.value;
}

void label_groups(const std::vector<Run>& runs, std::vector<Group>& groups) {
  constexpr std::size_t most = 3;
  const auto first = [&](const Group& group) -> const RunFacts& { return runs[group.runs.front()].facts; };
  std::set<std::string> keys;
  for (const Group& group : groups)
    for (const auto& [key, setting] : first(group).settings)
      if (key != "seed" && (sets_numbers(setting.affects) || setting.affects == Affects::speed)) keys.insert(key);
  std::vector<std::string> differing;
  for (const std::string& key : keys)
    if (std::any_of(groups.begin(), groups.end(), [&](const Group& group) {
          return value_of(first(group), key) != value_of(first(groups.front()), key);
        }))
      differing.push_back(key);
  for (Group& group : groups) {
    if (first(group).settings.empty() || groups.size() == 1) {
      group.label = group.runs.size() == 1 || groups.size() > 1 ? first(group).name : "all runs";
      continue;
    }
    for (std::size_t i = 0; i < std::min(most, differing.size()); ++i)
      group.label += (i > 0 ? ", " : "") + short_key(differing[i]) + "=" + value_of(first(group), differing[i]);
    if (differing.size() > most) group.label += ", " + std::to_string(differing.size() - most) + " more";
  }
}

void count_seeds(std::vector<Run>& runs, Group& group) {
  std::map<std::string, std::size_t> best;
  for (const std::size_t index : group.runs) {
    const auto [found, fresh] = best.try_emplace(runs[index].facts.seed, index);
    if (fresh) continue;
    const std::size_t loser =
        runs[index].summary.last_step > runs[found->second].summary.last_step ? found->second : index;
    if (loser == found->second) found->second = index;
    runs[loser].facts.marks.push_back("the same recipe and seed as " + runs[found->second].facts.path.string() +
                                      ": it counts once");
  }
  for (const std::size_t index : group.runs)
    if (best.at(runs[index].facts.seed) == index) group.counted.push_back(index);
}

/// One key over all runs, if it differs: `value_in` gives a run's text and origin.
template <class ValueIn>
void add_difference(const std::string& key, const std::string& affects, const std::vector<Run>& runs,
                    const std::vector<Group>& groups, const ValueIn& value_in, std::vector<Difference>& differences) {
  struct Who {
    std::string origin;
    std::set<std::size_t> runs;
  };
  std::map<std::string, Who> values;
  std::vector<std::string> order; // of first appearance
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto [value, origin] = value_in(runs[i].facts);
    const auto [found, fresh] = values.try_emplace(value);
    if (fresh) {
      order.push_back(value);
      found->second.origin = origin;
    }
    found->second.runs.insert(i);
  }
  if (values.size() < 2) return;
  Difference difference{key, affects, {}};
  for (const std::string& value : order) {
    const Who& who = values.at(value);
    Variant variant{value, who.origin, {}};
    const auto has = [&](std::size_t run) { return who.runs.contains(run); };
    const auto has_some = [&](const Group& group) { return std::any_of(group.runs.begin(), group.runs.end(), has); };
    const auto repeats = [&](const Group& group) { return group.runs.size() > 1; };
    if (groups.size() > 1 && std::all_of(groups.begin(), groups.end(), repeats) &&
        std::all_of(groups.begin(), groups.end(), has_some)) { // a seed of every group
      difference.variants.push_back({value, who.origin, {"in every group"}});
      continue;
    }
    for (const Group& group : groups) {
      if (std::all_of(group.runs.begin(), group.runs.end(), has)) {
        variant.whose.push_back(group.letter);
        continue;
      }
      for (const std::size_t run : group.runs)
        if (has(run)) variant.whose.push_back(runs[run].facts.name);
    }
    difference.variants.push_back(std::move(variant));
  }
  differences.push_back(std::move(difference));
}

} // namespace

std::string letter_of(std::size_t index) {
  std::string letters;
  for (std::size_t rest = index + 1; rest > 0; rest = (rest - 1) / 26)
    letters.insert(letters.begin(), static_cast<char>('A' + (rest - 1) % 26));
  return letters;
}

std::vector<Group> group_runs(std::vector<Run>& runs) {
  std::vector<Group> groups;
  std::map<std::string, std::size_t> known;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    // A run without settings is comparable with nothing but itself.
    std::string key = recipe(runs[i].facts, true);
    if (key.empty()) key = "path " + runs[i].facts.path.string();
    const auto [found, fresh] = known.try_emplace(key, groups.size());
    if (fresh) groups.push_back({letter_of(groups.size()), {}, {}, {}, recipe(runs[i].facts, false)});
    runs[i].group = found->second;
    groups[found->second].runs.push_back(i);
  }
  label_groups(runs, groups);
  for (Group& group : groups) count_seeds(runs, group);
  return groups;
}

std::vector<Difference> find_differences(const std::vector<Run>& runs, const std::vector<Group>& groups) {
  std::map<std::string, Affects> keys;
  std::set<std::string> environment;
  for (const Run& run : runs) {
    for (const auto& [key, setting] : run.facts.settings) keys.emplace(key, setting.affects);
    for (const auto& [key, value] : run.facts.environment) environment.insert(key);
  }
  std::vector<Difference> differences;
  for (const Affects affects : {Affects::numerics, Affects::selection, Affects::speed, Affects::io, Affects::naming})
    for (const auto& [key, of_key] : keys) {
      if (of_key != affects) continue;
      const auto setting = [&key = key](const RunFacts& facts) -> std::pair<std::string, std::string> {
        const auto found = facts.settings.find(key);
        if (found == facts.settings.end()) return {"-", {}};
        return {found->second.value, found->second.origin};
      };
      add_difference(key, conclave::to_string(affects), runs, groups, setting, differences);
    }
  for (const std::string& key : environment) {
    const auto value = [&key](const RunFacts& facts) -> std::pair<std::string, std::string> {
      const auto found = facts.environment.find(key);
      return {found == facts.environment.end() ? "-" : found->second, {}};
    };
    add_difference(key, "environment", runs, groups, value, differences);
  }
  return differences;
}

} // namespace conclave::compare
