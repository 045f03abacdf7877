// A block to its members: parts are read and counted first, so that nothing is built of a sweep that explodes.

#include "config/sweep.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "config/compose.hpp"
#include "config/keys.hpp"

namespace conclave {
namespace {

constexpr std::size_t longest_value_name = 40;

/// One thing that a member sets: a dotted key and its value.
struct Choice {
  std::string key;
  Location where; // of the key
  Value value;
};
/// What one entry of a part sets, and what it adds to the member's name.
struct Entry {
  std::string name;
  std::vector<Choice> choices;
};
/// A member takes one entry of each part.
using Part = std::vector<Entry>;

std::vector<std::string> segments_of(const std::string& key) {
  std::vector<std::string> segments;
  for (std::size_t begin = 0; begin <= key.size();) {
    const std::size_t end = std::min(key.find('.', begin), key.size());
    segments.push_back(key.substr(begin, end - begin));
    begin = end + 1;
  }
  return segments;
}

/// Letters of a folder's name that no shell and no glob reads otherwise.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, longest_value_name)) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '_' || c == '+' || c == '-';
    out += kept ? c : '-';
  }
  return out;
}

/// The end of a key that tells it from the others: `experts`, or `encoder.experts` beside `decoder.experts`.
std::string short_key(const std::string& key, const std::set<std::string>& all) {
  std::size_t begin = key.size();
  while (begin > 0) {
    const std::size_t dot = key.rfind('.', begin - 1);
    begin = dot == std::string::npos ? 0 : dot + 1;
    const std::string ending = "." + key.substr(begin);
    const auto shares = [&](const std::string& other) { return ("." + other).ends_with(ending); };
    if (std::count_if(all.begin(), all.end(), shares) == 1) break;
    if (begin > 0) --begin;
  }
  return key.substr(begin);
}

class Block {
 public:
  Block(const std::vector<std::string>& data_keys, Diagnostics& diagnostics)
      : data_keys_(data_keys), diagnostics_(diagnostics) {}

  std::vector<SweepMember> expand(const Value& block, std::uint64_t seed) {
    const std::size_t errors_before = diagnostics_.error_count();
    if (!expect_map(block, "sweep", "write sweep: {grid: {a.b: [1, 2]}, seeds: 3}")) return {};
    const Value *list = nullptr, *grid = nullptr, *ablations = nullptr, *seeds = nullptr, *limit = nullptr;
    const std::map<std::string, const Value**> known = {
        {"list", &list}, {"grid", &grid}, {"ablations", &ablations}, {"seeds", &seeds}, {"limit", &limit}};
    for (const Value::Member& member : block.members()) {
      if (const auto found = known.find(member.key); found != known.end()) {
        if (!member.value.is_null()) *found->second = &member.value;
        continue;
      }
      std::vector<std::string> names;
      for (const auto& [name, unused] : known) names.push_back(name);
      const std::string nearest = nearest_name(member.key, names);
      diagnostics_.error(
          member.key_where, "sweep." + member.key, "is not a part of a sweep",
          nearest.empty() ? "its parts are list, grid, ablations, seeds and limit" : "did you mean " + nearest + "?");
    }
    std::vector<Part> parts;
    if (list != nullptr) parts.push_back(read_list(*list));
    if (grid != nullptr) read_grid(*grid, parts);
    if (ablations != nullptr) parts.push_back(read_ablations(*ablations));
    if (seeds != nullptr) parts.push_back(read_seeds(*seeds, seed));
    const std::int64_t most = limit != nullptr ? read_limit(*limit) : default_sweep_limit;
    if (diagnostics_.error_count() != errors_before) return {};
    if (parts.empty()) {
      diagnostics_.error(block.where(), "sweep", "names nothing to vary", "give list, grid, ablations or seeds");
      return {};
    }
    check_size(block, parts, most);
    check_keys(parts);
    if (diagnostics_.error_count() != errors_before) return {};
    return build(parts);
  }

 private:
  bool expect_map(const Value& value, const std::string& key, const char* fix) {
    if (value.is_map()) return true;
    diagnostics_.error(value.where(), key, "expected a map", fix);
    return false;
  }

  // The key as the tree has it; "" after a diagnostic.
  std::string full_key(const Value::Member& member, const std::string& within) {
    std::vector<std::string> segments = segments_of(member.key);
    const bool whole =
        std::none_of(segments.begin(), segments.end(), [](const std::string& segment) { return segment.empty(); });
    const std::set<std::string> fixed = {"conclave", "extends", "name", "sweep"};
    if (!whole || fixed.contains(segments.front())) {
      diagnostics_.error(member.key_where, within, "'" + member.key + "' cannot vary over a sweep",
                         "name an option as --set does, such as optimizer.with.lr");
      return {};
    }
    const bool of_data = std::find(data_keys_.begin(), data_keys_.end(), segments.front()) != data_keys_.end();
    return of_data ? "data." + member.key : member.key;
  }

  std::vector<Choice> read_choices(const Value& map, const std::string& within) {
    std::vector<Choice> choices;
    if (!expect_map(map, within, "write {optimizer.with.lr: 1e-3}")) return choices;
    for (const Value::Member& member : map.members())
      if (const std::string key = full_key(member, within); !key.empty())
        choices.push_back({key, member.key_where, member.value});
    return choices;
  }

  Part read_list(const Value& list) {
    Part part;
    if (!list.is_list() || list.items().empty()) {
      diagnostics_.error(list.where(), "sweep.list", "expected a list of maps",
                         "write [{optimizer.with.lr: 1e-3}, {optimizer.with.lr: 2e-3}]");
      return part;
    }
    for (std::size_t i = 0; i < list.items().size(); ++i)
      part.push_back({{}, read_choices(list.items()[i], "sweep.list[" + std::to_string(i) + "]")});
    return part;
  }

  void read_grid(const Value& grid, std::vector<Part>& parts) {
    if (!expect_map(grid, "sweep.grid", "write {model.with.experts: [8, 16, 32]}")) return;
    for (const Value::Member& member : grid.members()) {
      const std::string key = full_key(member, "sweep.grid");
      if (!member.value.is_list() || member.value.items().empty()) {
        diagnostics_.error(member.value.where(), "sweep.grid." + member.key, "expected a list of values",
                           "write [8, 16, 32]");
        continue;
      }
      Part part;
      for (const Value& item : member.value.items()) part.push_back({{}, {{key, member.key_where, item}}});
      parts.push_back(std::move(part));
    }
  }

  Part read_ablations(const Value& ablations) {
    Part part = {{"base", {}}};
    if (!expect_map(ablations, "sweep.ablations", "write {name: {model.with.top_k: 1}}")) return part;
    for (const Value::Member& member : ablations.members()) {
      if (!is_plain_name(member.key) || member.key == "base")
        diagnostics_.error(member.key_where, "sweep.ablations." + member.key, "cannot name an ablation",
                           "use letters, digits, - and _; base is what nothing was taken from");
      part.push_back({member.key, read_choices(member.value, "sweep.ablations." + member.key)});
    }
    return part;
  }

  // A whole number of that scalar, or nothing after a diagnostic.
  std::optional<std::uint64_t> number(const Value& value, const std::string& key, std::uint64_t most) {
    std::uint64_t parsed = 0;
    const std::string& text = value.text();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
    if (value.is_scalar() && error == std::errc() && end == text.data() + text.size() && parsed <= most) return parsed;
    diagnostics_.error(value.where(), key, "expected a whole number of at most " + std::to_string(most),
                       key == "sweep.seeds" ? "write seeds: 3, or seeds: [1, 2, 3]" : "");
    return std::nullopt;
  }

  Part read_seeds(const Value& seeds, std::uint64_t first) {
    Part part;
    std::vector<Value> values = seeds.items();
    if (!seeds.is_list()) {
      const auto count = number(seeds, "sweep.seeds", most_sweep_members);
      if (count == std::uint64_t{0})
        diagnostics_.error(seeds.where(), "sweep.seeds", "there is no seed", "write seeds: 3");
      for (std::uint64_t i = 0; i < count.value_or(0); ++i)
        values.push_back(Value::scalar(std::to_string(first + i), seeds.where()));
    } else if (values.empty()) {
      diagnostics_.error(seeds.where(), "sweep.seeds", "there is no seed", "write seeds: [1, 2, 3]");
    }
    std::set<std::string> seen;
    for (const Value& value : values) {
      if (!number(value, "sweep.seeds", std::numeric_limits<std::int64_t>::max())) continue;
      if (!seen.insert(value.text()).second)
        diagnostics_.error(value.where(), "sweep.seeds", value.text() + " stands there twice", "name each seed once");
      part.push_back({{}, {{"seed", seeds.where(), value}}});
    }
    return part;
  }

  std::int64_t read_limit(const Value& limit) {
    return static_cast<std::int64_t>(number(limit, "sweep.limit", most_sweep_members).value_or(0));
  }

  void check_size(const Value& block, const std::vector<Part>& parts, std::int64_t most) {
    double size = 1;
    std::string product;
    for (const Part& part : parts) {
      size *= static_cast<double>(part.size());
      product += (product.empty() ? "" : " x ") + std::to_string(part.size());
    }
    if (size <= static_cast<double>(most)) return;
    char count[32];
    std::snprintf(count, sizeof count, "%.6g", size);
    diagnostics_.error(block.where(), "sweep",
                       product + " = " + count + " members are more than the limit of " + std::to_string(most),
                       size <= most_sweep_members
                           ? "vary less, or set sweep.limit"
                           : "vary less: no sweep has more than " + std::to_string(most_sweep_members) + " members");
  }

  // Parts meet in every member, so no two may set the same thing. What an ablation takes back is its point.
  void check_keys(const std::vector<Part>& parts) {
    std::map<std::string, std::size_t> owner;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (!parts[i].front().name.empty()) continue;
      for (const Entry& entry : parts[i])
        for (const Choice& choice : entry.choices)
          if (const auto [found, fresh] = owner.try_emplace(choice.key, i); !fresh && found->second != i)
            diagnostics_.error(choice.where, "sweep", choice.key + " varies in two parts of the sweep",
                               "leave it in one of them");
    }
  }

  static std::set<std::string> all_keys(const std::vector<Part>& parts) {
    std::set<std::string> keys;
    for (const Part& part : parts)
      for (const Entry& entry : part)
        for (const Choice& choice : entry.choices) keys.insert(choice.key);
    return keys;
  }

  static std::string name_of(const Entry& entry, const std::set<std::string>& keys) {
    if (!entry.name.empty()) return entry.name;
    std::string name;
    for (const Choice& choice : entry.choices) {
      const Value& value = choice.value;
      const std::string text = value.is_null()     ? "null"
                               : value.is_scalar() ? plain(value.text())
                               : value.find("use") ? plain(item_name(value))
                                                   : "other";
      name += (name.empty() ? "" : ",") + short_key(choice.key, keys) + "=" + text;
    }
    return name;
  }

  static Value layer_of(const Choice& choice) {
    const std::vector<std::string> segments = segments_of(choice.key);
    Value value = choice.value;
    for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment)
      value = Value::map({{*segment, choice.where, std::move(value)}}, choice.where);
    return value;
  }

  std::vector<SweepMember> build(const std::vector<Part>& parts) {
    const std::set<std::string> keys = all_keys(parts);
    std::vector<SweepMember> members = {{{}, Value::map({})}};
    for (const Part& part : parts) {
      std::vector<SweepMember> longer;
      for (const SweepMember& member : members)
        for (const Entry& entry : part) {
          SweepMember next = member;
          if (const std::string name = name_of(entry, keys); !name.empty())
            next.name += (next.name.empty() ? "" : ",") + name;
          OverrideHistory ignored;
          for (const Choice& choice : entry.choices)
            next.layer = merge(next.layer, layer_of(choice), {}, ignored, diagnostics_);
          longer.push_back(std::move(next));
        }
      members = std::move(longer);
    }
    // Values that read alike as a folder's name, and an entry that sets nothing.
    std::map<std::string, int> seen;
    for (SweepMember& member : members) {
      if (member.name.empty()) member.name = "base";
      if (const int before = seen[member.name]++; before > 0) member.name += "-" + std::to_string(before + 1);
    }
    return members;
  }

  const std::vector<std::string>& data_keys_;
  Diagnostics& diagnostics_;
};

} // namespace

std::vector<SweepMember> expand_sweep(const Value& block, std::uint64_t seed, const std::vector<std::string>& data_keys,
                                      Diagnostics& diagnostics) {
  return Block(data_keys, diagnostics).expand(block, seed);
}

} // namespace conclave
