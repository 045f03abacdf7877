// Composition: reading the layers, merging them, substituting variables.

#include "config/compose.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "config/keys.hpp"
#include "config/yaml_reader.hpp"

namespace conclave {
namespace {

constexpr std::size_t most_files = 64;
constexpr std::size_t longest_override_path = 32;

// The list under `!append` or `!prepend`, or null.
const Value* tagged_list(const Value& value) {
  if (value.members().size() != 1) return nullptr;
  const Value::Member& only = value.members().front();
  return (only.key == append_tag || only.key == prepend_tag) && only.value.is_list() ? &only.value : nullptr;
}

// A layer's part that meets nothing below it: its `!append` lists are plain lists. In all but the first layer, a `null`
// of its maps deletes nothing, which it says by having no location.
enum class Layer { first, later };
Value settle(const Value& value, Layer layer) {
  if (const Value* list = tagged_list(value)) return settle(*list, layer);
  if (value.is_list()) {
    std::vector<Value> items;
    items.reserve(value.items().size());
    // A list replaces as a whole: what is null in it is written there.
    for (const Value& item : value.items()) items.push_back(settle(item, Layer::first));
    return Value::list(std::move(items), value.where());
  }
  if (value.is_map()) {
    std::vector<Value::Member> members;
    members.reserve(value.members().size());
    for (const Value::Member& member : value.members()) {
      const bool idle = layer == Layer::later && member.value.is_null();
      members.push_back({member.key, member.key_where, idle ? Value::null() : settle(member.value, layer)});
    }
    return Value::map(std::move(members), value.where());
  }
  return value;
}

// Every leaf of what is lost goes to the history under its own key.
void record(OverrideHistory& history, const std::string& key, const Value& lost, const std::string& why,
            const Location& by) {
  if (lost.is_map()) {
    for (const Value::Member& member : lost.members())
      record(history, join_key(key, member.key), member.value, why, by);
  } else {
    history[key].push_back({lost, why, by});
  }
}

// Every scalar in the value.
void add_texts(const Value& value, std::vector<std::string>& texts) {
  if (value.is_scalar()) texts.push_back(value.text());
  for (const Value& item : value.items()) add_texts(item, texts);
  for (const Value::Member& member : value.members()) add_texts(member.value, texts);
}

std::vector<Value::Member>::iterator find_member(std::vector<Value::Member>& members, const std::string& key) {
  return std::find_if(members.begin(), members.end(), [&](const Value::Member& m) { return m.key == key; });
}

Value merge_maps(const Value& earlier, const Value& later, const std::string& key, OverrideHistory& history,
                 Diagnostics& diagnostics) {
  std::vector<Value::Member> members = earlier.members();
  const Value *use_before = earlier.find("use"), *use_now = later.find("use");
  if (use_before && use_now && use_before->is_scalar() && use_now->is_scalar() &&
      use_before->text() != use_now->text()) {
    if (const auto with = find_member(members, "with"); with != members.end()) {
      record(history, join_key(key, "with"), with->value, "dropped, since use changed from " + use_before->text(),
             use_now->where());
      members.erase(with);
    }
  }
  for (const Value::Member& member : later.members()) {
    const auto found = find_member(members, member.key);
    const std::string member_key = join_key(key, member.key);
    if (found == members.end()) {
      const Value added = member.value.is_null() ? Value::null() : settle(member.value, Layer::later);
      members.push_back({member.key, member.key_where, added});
    } else if (member.value.is_null()) {
      record(history, member_key, found->value, "deleted", member.value.where());
      members.erase(found);
    } else {
      *found = {member.key, member.key_where, merge(found->value, member.value, member_key, history, diagnostics)};
    }
  }
  // `--set` touches single keys: the section is still where the file has it.
  const bool in_file = later.where().line > 0 || earlier.where().line <= 0;
  return Value::map(std::move(members), in_file ? later.where() : earlier.where());
}

// A map over a list: each key is an item's name or number.
Value merge_items(const Value& earlier, const Value& later, const std::string& key, OverrideHistory& history,
                  Diagnostics& diagnostics) {
  std::vector<Value> items = earlier.items();
  std::vector<bool> deleted(items.size(), false);
  for (const Value::Member& member : later.members()) {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < items.size(); ++i)
      if (item_name(items[i]) == member.key) found.push_back(i);
    const bool number = member.key.size() <= 5 && !member.key.empty() &&
                        std::all_of(member.key.begin(), member.key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (found.empty() && number) {
      if (const auto index = static_cast<std::size_t>(std::stoul(member.key)); index < items.size())
        found.push_back(index);
    }
    const std::string item_key = join_key(key, member.key);
    if (found.size() != 1) {
      std::vector<std::string> names;
      std::string known;
      for (const Value& item : items) {
        names.push_back(item_name(item));
        known += (known.empty() ? "" : ", ") + (names.back().empty() ? std::to_string(names.size() - 1) : names.back());
      }
      const std::string nearest = nearest_name(member.key, names);
      if (found.empty())
        diagnostics.error(member.key_where, item_key, "the list has no item of that name",
                          !nearest.empty() ? "did you mean " + nearest + "?"
                          : items.empty()  ? "the list is empty"
                                           : "its items are " + known);
      else
        diagnostics.error(member.key_where, item_key, "the list has several items of that name",
                          "give each a name: of its own");
      continue;
    }
    Value& item = items[found.front()];
    if (member.value.is_null()) {
      record(history, item_key, item, "deleted", member.value.where());
      deleted[found.front()] = true;
    } else {
      item = merge(item, member.value, item_key, history, diagnostics);
    }
  }
  std::vector<Value> kept;
  for (std::size_t i = 0; i < items.size(); ++i)
    if (!deleted[i]) kept.push_back(std::move(items[i]));
  return Value::list(std::move(kept), earlier.where());
}

class Layers {
 public:
  Layers(Composition& composition, Diagnostics& diagnostics) : composition_(composition), diagnostics_(diagnostics) {}

  // Applies what the file extends, then the file. False when the file itself could not be read.
  bool apply_file(const std::string& path, const Location& from) {
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::path canonical = fs::weakly_canonical(path, error);
    const std::string identity = error ? path : canonical.string();
    if (const auto open =
            std::find_if(open_.begin(), open_.end(), [&](const Open& o) { return o.identity == identity; });
        open != open_.end()) {
      std::string circle;
      for (auto at = open; at != open_.end(); ++at) circle += at->path + " -> ";
      diagnostics_.error(from, "extends", "goes in a circle: " + circle + path, "remove one of them");
      return false;
    }
    if (std::find(composition_.files.begin(), composition_.files.end(), identity) != composition_.files.end())
      return true;
    if (composition_.files.size() >= most_files) {
      diagnostics_.error(from, "extends", "more than " + std::to_string(most_files) + " files", "extend fewer");
      return false;
    }
    if (from.file && !fs::exists(path, error)) {
      diagnostics_.error(from, "extends", "there is no file " + path,
                         "a path here is relative to the file that names it");
      return false;
    }
    if (from.file && fs::is_directory(path, error)) {
      diagnostics_.error(from, "extends", path + " is a folder", "name a YAML file in it");
      return false;
    }
    composition_.files.push_back(identity);
    const std::optional<Value> layer = read_yaml(path, diagnostics_);
    if (!layer) return false;
    if (!layer->is_map()) {
      diagnostics_.error(layer->where(), {}, "an experiment is a map of sections", "start with `conclave: 1`");
      return false;
    }
    open_.push_back({identity, path});
    if (const Value* extends = layer->find("extends")) apply_extended(*extends, path);
    open_.pop_back();
    std::vector<Value::Member> own;
    for (const Value::Member& member : layer->members())
      if (member.key != "extends") own.push_back(member);
    apply(Value::map(std::move(own), layer->where()));
    return true;
  }

  void apply(const Value& layer) {
    tree_ = layers_++ == 0 ? settle(layer, Layer::first) : merge(tree_, layer, {}, composition_.history, diagnostics_);
  }
  [[nodiscard]] const Value& tree() const { return tree_; }

 private:
  struct Open {
    std::string identity, path;
  };

  // What cannot be read leaves the composition without it: the rest is still worth checking.
  void apply_extended(const Value& extends, const std::string& path) {
    if (extends.is_null()) return;
    const auto refuse = [this](const Value& value, const char* what, const char* fix) {
      diagnostics_.error(value.where(), "extends", what, fix);
      composition_.whole = false;
    };
    if (!extends.is_list() && !extends.is_scalar())
      return refuse(extends, "expected a path or a list of paths", "write extends: [base/a.yaml, base/b.yaml]");
    const std::vector<Value> entries = extends.is_scalar() ? std::vector<Value>{extends} : extends.items();
    for (const Value& entry : entries) {
      if (!entry.is_scalar() || entry.text().empty() || entry.text().find('\0') != std::string::npos) {
        refuse(entry, "expected a path", "write the path of a YAML file");
      } else if (entry.text().find("${") != std::string::npos) {
        refuse(entry, "variables are not known here", "write the path out");
      } else {
        const std::filesystem::path target =
            (std::filesystem::path(path).parent_path() / entry.text()).lexically_normal();
        if (!apply_file(target.string(), entry.where())) composition_.whole = false;
      }
    }
  }

  Composition& composition_;
  Diagnostics& diagnostics_;
  int layers_ = 0;         // applied so far
  std::vector<Open> open_; // the files being extended, outermost first
  Value tree_ = Value::map({});
};

bool opens_yaml(std::string_view text) {
  const auto tagged = [text](std::string_view tag) {
    return text.starts_with(tag) && text.substr(tag.size(), 1) == " ";
  };
  return std::string_view("[{\"'").find(text.front()) != std::string_view::npos || tagged(append_tag) ||
         tagged(prepend_tag);
}

// What stands right of `=`: YAML when it opens a list (tagged or not), a map or quotes, else text.
std::optional<Value> override_value(const std::string& text, const Location& where, Diagnostics& diagnostics) {
  if (text.empty() || text == "null" || text == "~") return Value::null(where);
  if (!opens_yaml(text)) return Value::scalar(text, where);
  const std::optional<Value> parsed = parse_yaml(text, *where.file, diagnostics);
  if (!parsed) return std::nullopt;
  // Everything in it was written on the command line: no line or column of a file.
  const auto relocate = [&where](const Value& value, const auto& self) -> Value {
    std::vector<Value> items;
    std::vector<Value::Member> members;
    switch (value.kind()) {
      case Value::Kind::null: return Value::null(where);
      case Value::Kind::scalar: return Value::scalar(value.text(), where, value.quoted());
      case Value::Kind::list:
        for (const Value& item : value.items()) items.push_back(self(item, self));
        return Value::list(std::move(items), where);
      case Value::Kind::map:
        for (const Value::Member& member : value.members())
          members.push_back({member.key, where, self(member.value, self)});
        return Value::map(std::move(members), where);
    }
    return value;
  };
  return relocate(*parsed, relocate);
}

std::optional<Value> parse_override(const std::string& text, std::size_t number,
                                    const std::vector<std::string>& data_keys, Diagnostics& diagnostics) {
  const Location where{std::make_shared<const std::string>("--set #" + std::to_string(number)), 0, 0};
  const std::size_t equals = text.find('=');
  std::vector<std::string> path;
  bool good = equals != std::string::npos && equals != 0;
  for (std::size_t begin = 0; good && begin <= equals;) {
    const std::size_t end = std::min(text.find('.', begin), equals);
    path.push_back(text.substr(begin, end - begin));
    good = !path.back().empty();
    begin = end + 1;
  }
  if (!good || path.size() > longest_override_path) {
    diagnostics.error(where, {}, "'" + text.substr(0, 80) + "' is not an override", "write --set section.key=value");
    return std::nullopt;
  }
  if (path.front() == "extends") {
    diagnostics.error(where, "extends", "cannot be set on the command line", "write it in the file");
    return std::nullopt;
  }
  if (std::find(data_keys.begin(), data_keys.end(), path.front()) != data_keys.end()) path.insert(path.begin(), "data");
  std::optional<Value> value = override_value(text.substr(equals + 1), where, diagnostics);
  if (!value) return std::nullopt;
  for (auto segment = path.rbegin(); segment != path.rend(); ++segment)
    value = Value::map({{*segment, where, std::move(*value)}}, where);
  return value;
}

} // namespace

std::string item_name(const Value& item) {
  const Value* name = item.find("name");
  if (name != nullptr && name->is_scalar()) return name->text();
  const Value* use = item.find("use");
  if (use == nullptr || !use->is_scalar()) return {};
  const std::size_t slash = use->text().find('/');
  return slash == std::string::npos ? std::string{} : use->text().substr(slash + 1);
}

Value merge(const Value& earlier, const Value& later, const std::string& key, OverrideHistory& history,
            Diagnostics& diagnostics) {
  if (const Value* list = tagged_list(later)) {
    Value added = settle(*list, Layer::later);
    if (earlier.is_null()) return added;
    if (!earlier.is_list()) {
      diagnostics.error(later.where(), key, later.members().front().key + " needs a list below it",
                        "the value at " + earlier.where().render() + " is none");
      return earlier;
    }
    record(history, key, earlier, "extended", later.where());
    const bool append = later.members().front().key == append_tag;
    std::vector<Value> items = append ? earlier.items() : added.items();
    const std::vector<Value>& rest = append ? added.items() : earlier.items();
    items.insert(items.end(), rest.begin(), rest.end());
    return Value::list(std::move(items), later.where());
  }
  if (earlier.is_map() && later.is_map()) return merge_maps(earlier, later, key, history, diagnostics);
  if (earlier.is_list() && later.is_map()) return merge_items(earlier, later, key, history, diagnostics);
  if (!earlier.is_null()) record(history, key, earlier, "replaced", later.where());
  return settle(later, Layer::later);
}

namespace {

// The members of `sweep:` in the layers so far, and the layer of the one that is asked for.
std::optional<Value> read_sweep(const Value& tree, const std::vector<std::string>& data_keys, const std::string& member,
                                Composition& composition, Diagnostics& diagnostics) {
  const Value* block = tree.find("sweep");
  const std::size_t errors_before = diagnostics.error_count();
  if (block != nullptr && !block->is_null()) {
    std::uint64_t seed = 0; // one that is no number is for binding to refuse
    if (const Value* own = tree.find("seed"); own != nullptr && own->is_scalar())
      std::from_chars(own->text().data(), own->text().data() + own->text().size(), seed);
    composition.sweep = expand_sweep(*block, seed, data_keys, diagnostics);
  }
  if (member.empty() || diagnostics.error_count() != errors_before) return std::nullopt;
  std::vector<std::string> names;
  for (const SweepMember& known : composition.sweep) {
    if (known.name == member) return known.layer;
    names.push_back(known.name);
  }
  const std::string nearest = nearest_name(member, names);
  diagnostics.error(block != nullptr ? block->where() : tree.where(), "sweep", "has no member '" + member + "'",
                    !nearest.empty() ? "did you mean " + nearest + "?"
                    : names.empty()  ? "the experiment has no sweep: block"
                                     : "`conclave sweep FILE --list` names them");
  return std::nullopt;
}

} // namespace

std::optional<Composition> compose(const std::string& path, const std::vector<std::string>& overrides,
                                   const std::vector<std::string>& data_keys, Diagnostics& diagnostics,
                                   const std::string& member) {
  Composition composition;
  Layers layers(composition, diagnostics);
  const bool readable = layers.apply_file(path, {});
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    if (const auto layer = parse_override(overrides[i], i + 1, data_keys, diagnostics)) layers.apply(*layer);
  }
  if (!readable) return std::nullopt;
  if (const auto layer = read_sweep(layers.tree(), data_keys, member, composition, diagnostics)) layers.apply(*layer);
  const Value* vars = layers.tree().find("vars");
  std::vector<Value::Member> members;
  for (const Value::Member& section : layers.tree().members())
    if (section.key != "vars" && section.key != "sweep") members.push_back(section);
  Diagnostics of_variables; // worth nothing where their values may stand in what could not be read
  std::vector<std::string> overridden;
  for (const auto& [key, chain] : composition.history)
    for (const Overridden& old : chain) add_texts(old.value, overridden);
  composition.tree = substitute(Value::map(std::move(members), layers.tree().where()),
                                vars != nullptr ? *vars : Value{}, overridden, composition.substituted, of_variables);
  if (composition.whole)
    for (const Diagnostic& found : of_variables.all()) diagnostics.add(found);
  return composition;
}

} // namespace conclave
