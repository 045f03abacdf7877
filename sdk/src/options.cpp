// OptionTable: binding a map to an options object, and the texts that every option shares.

#include "conclave/options.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "option_text.hpp"

namespace conclave {

const char* to_string(OptionType type) noexcept {
  switch (type) {
    case OptionType::boolean: return "boolean";
    case OptionType::integer: return "integer";
    case OptionType::real: return "number";
    case OptionType::text: return "text";
    case OptionType::path: return "path";
    case OptionType::count: return "count";
    case OptionType::bytes: return "size";
    case OptionType::seconds: return "time";
    case OptionType::fraction: return "share";
    case OptionType::steps_or_fraction: return "steps or share";
    case OptionType::choice: return "choice";
    case OptionType::list: return "list";
    case OptionType::map: return "map";
    case OptionType::group: return "group";
    case OptionType::plugin: return "plugin";
  }
  return "?";
}

const char* to_string(Affects affects) noexcept {
  switch (affects) {
    case Affects::numerics: return "numerics";
    case Affects::selection: return "selection";
    case Affects::speed: return "speed";
    case Affects::io: return "io";
    case Affects::naming: return "naming";
  }
  return "?";
}

void OptionReport::error(std::string key, std::string what, std::string fix) {
  entries_.push_back({Severity::error, std::move(key), std::move(what), std::move(fix)});
}
void OptionReport::warning(std::string key, std::string what, std::string fix) {
  entries_.push_back({Severity::warning, std::move(key), std::move(what), std::move(fix)});
}
void OptionReport::hint(std::string key, std::string what, std::string fix) {
  entries_.push_back({Severity::hint, std::move(key), std::move(what), std::move(fix)});
}

const OptionSpec* OptionTable::find(std::string_view name) const noexcept {
  for (const OptionSpec& spec : specs_)
    if (spec.name == name) return &spec;
  return nullptr;
}

std::shared_ptr<void> OptionTable::make() const { return make_ ? make_() : nullptr; }

namespace {

std::string join_key(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

const OptionSpec* find_by_alias(const std::vector<OptionSpec>& specs, const std::string& alias) {
  for (const OptionSpec& spec : specs)
    if (std::find(spec.deprecated_aliases.begin(), spec.deprecated_aliases.end(), alias) !=
        spec.deprecated_aliases.end())
      return &spec;
  return nullptr;
}

std::string type_phrase(const OptionSpec& spec) {
  if (spec.type == OptionType::list || spec.type == OptionType::map)
    return std::string(to_string(spec.type)) + " of " + to_string(spec.element);
  if (spec.type != OptionType::choice) return to_string(spec.type);
  std::string text = "one of";
  for (const std::string& choice : spec.choices) text += (choice == spec.choices.front() ? " " : ", ") + choice;
  return text;
}

// `lr.betas[1]` walked from `with` as far as it was written; the location of what was found last.
Location locate(const Value& with, std::string_view key) {
  const Value* at = &with;
  Location where = with.where();
  while (!key.empty()) {
    const std::size_t end = key.find_first_of(".[");
    if (const std::string_view name = key.substr(0, end); !name.empty()) {
      at = at->find(name);
      if (at == nullptr) return where;
      where = at->where();
    }
    if (end == std::string_view::npos) break;
    if (key[end] == '[') {
      const std::size_t close = std::min(key.find(']', end), key.size());
      std::size_t index = 0;
      for (char digit : key.substr(end + 1, close - end - 1))
        index = digit >= '0' && digit <= '9' && index < 100000 ? index * 10 + static_cast<std::size_t>(digit - '0')
                                                               : 100000;
      if (index >= at->items().size()) return where;
      at = &at->items()[index];
      where = at->where();
      key.remove_prefix(std::min(close + 1, key.size()));
      if (!key.empty() && key.front() == '.') key.remove_prefix(1);
    } else {
      key.remove_prefix(end + 1);
    }
  }
  return where;
}

void report_unknown(const Value::Member& member, const std::string& key, const std::vector<OptionSpec>& specs,
                    Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const OptionSpec& spec : specs) names.push_back(spec.name);
  const std::string nearest = nearest_name(member.key, names);
  std::string fix;
  if (const auto spec =
          std::find_if(specs.begin(), specs.end(), [&](const OptionSpec& s) { return s.name == nearest; });
      spec != specs.end()) {
    fix = "did you mean " + nearest + "? (" + type_phrase(*spec);
    if (const std::string range = detail::describe_range(*spec); !range.empty()) fix += " " + range;
    if (!spec->default_text.empty() && spec->default_text.size() <= 40) fix += ", default " + spec->default_text;
    fix += ")";
  } else if (names.empty()) {
    fix = "there are no options here: remove it";
  } else {
    fix = "the options here are ";
    for (const std::string& name : names) fix += (name == names.front() ? "" : ", ") + name;
  }
  diagnostics.error(member.key_where, key, "unknown option", std::move(fix));
}

} // namespace

void OptionTable::bind(const Value& with, const std::string& key_prefix, const BindContext& context, void* options,
                       Diagnostics& diagnostics, std::vector<ChildRequest>& children) const {
  const std::size_t errors_before = diagnostics.error_count();
  if (!with.is_null() && !detail::expect_map(with, key_prefix, diagnostics)) return;

  std::vector<const OptionSpec*> bound;
  for (const Value::Member& member : with.members()) {
    const std::string key = join_key(key_prefix, member.key);
    const OptionSpec* spec = find(member.key);
    if (spec == nullptr) {
      spec = find_by_alias(specs_, member.key);
      if (spec == nullptr) {
        report_unknown(member, key, specs_, diagnostics);
        continue;
      }
      diagnostics.warning(member.key_where, key, "is an old name", "write " + spec->name);
    }
    if (std::find(bound.begin(), bound.end(), spec) != bound.end()) {
      diagnostics.error(member.key_where, key, "sets " + spec->name + " a second time", "remove one of the two");
      continue;
    }
    if (!spec->optional && detail::is_idle_deletion(member.value)) continue;
    bound.push_back(spec);
    if (member.value.is_null() && !spec->optional) {
      diagnostics.error(
          member.key_where, key, "has no value",
          "write one (" + type_phrase(*spec) + ")" + (spec->required ? "" : ", or remove the key to get the default"));
      continue;
    }
    spec->parse(member.value, key, *spec, context, options, diagnostics, children);
  }
  for (const OptionSpec& spec : specs_) {
    if (context.incomplete || !spec.required || std::find(bound.begin(), bound.end(), &spec) != bound.end()) continue;
    std::string fix = "add it (" + type_phrase(spec) + ")";
    if (!spec.doc.empty()) fix += ": " + spec.doc;
    diagnostics.error(with.where(), join_key(key_prefix, spec.name), "is required and missing", std::move(fix));
  }

  if (!validate_ || context.incomplete || diagnostics.error_count() != errors_before) return;
  OptionReport report;
  validate_(options, report);
  for (const OptionReport::Entry& entry : report.entries())
    diagnostics.add({entry.severity, locate(with, entry.key),
                     entry.key.empty() ? key_prefix : join_key(key_prefix, entry.key), entry.what, entry.fix});
}

std::vector<std::pair<std::string, std::string>> OptionTable::render(const void* options) const {
  std::vector<std::pair<std::string, std::string>> rendered;
  rendered.reserve(specs_.size());
  for (const OptionSpec& spec : specs_) rendered.emplace_back(spec.name, spec.render(options));
  return rendered;
}

std::string OptionTable::render(const void* options, std::string_view name) const {
  const OptionSpec* spec = find(name);
  return spec == nullptr ? std::string{} : spec->render(options);
}

namespace detail {

std::string describe_value(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::null: return "nothing";
    case Value::Kind::list: return "a list";
    case Value::Kind::map: return "a map";
    case Value::Kind::scalar: break;
  }
  constexpr std::size_t longest = 60;
  std::string text = "'";
  for (char c : value.text().substr(0, longest)) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  // Do not cut a UTF-8 sequence in two.
  if (value.text().size() > longest) {
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
    if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0) text.pop_back();
    text += "...";
  }
  return text + "'";
}

std::string describe_range(const OptionSpec& spec) {
  const auto number = [](double bound) { return Codec<double>::render(bound); };
  if (spec.minimum && spec.maximum)
    return std::string("in ") + (spec.minimum_exclusive ? "(" : "[") + number(*spec.minimum) + ", " +
           number(*spec.maximum) + "]";
  if (spec.minimum) return (spec.minimum_exclusive ? "above " : "of at least ") + number(*spec.minimum);
  if (spec.maximum) return "of at most " + number(*spec.maximum);
  return {};
}

bool expect_list(const Value& value, const std::string& key, Diagnostics& diagnostics) {
  if (value.is_list()) return true;
  diagnostics.error(value.where(), key, "expected a list, found " + describe_value(value), "write [..., ...]");
  return false;
}

bool expect_map(const Value& value, const std::string& key, Diagnostics& diagnostics) {
  if (value.is_map()) return true;
  diagnostics.error(value.where(), key, "expected a map, found " + describe_value(value), "write {key: value, ...}");
  return false;
}

bool parse_child(const Value& value, const std::string& key, const std::string& kind, BlockName name,
                 const BindContext& context, Diagnostics& diagnostics, ChildRequest& request) {
  if (!value.is_map()) {
    std::string fix = "write {use: " + kind + "/..., with: {...}}";
    if (value.is_scalar() && value.text().starts_with(kind + "/")) fix = "write {use: " + value.text() + "}";
    diagnostics.error(value.where(), key, "expected a " + kind + " block, found " + describe_value(value),
                      std::move(fix));
    return false;
  }
  bool good = true;
  std::vector<std::string> keys = {"use", "with"};
  if (name == BlockName::allowed) keys.emplace_back("name");
  for (const Value::Member& member : value.members()) {
    if (std::find(keys.begin(), keys.end(), member.key) != keys.end()) continue;
    good = false;
    if (member.key == "name") {
      diagnostics.error(member.key_where, join_key(key, member.key), "only the items of a list have a name",
                        "remove it: this block is known as " + key);
      continue;
    }
    const std::string nearest = nearest_name(member.key, keys);
    const std::string known = name == BlockName::allowed ? "use, with and name" : "use and with";
    diagnostics.error(
        member.key_where, join_key(key, member.key), "unknown key of a plugin block",
        nearest.empty() ? "a block has " + known + "; options go under with" : "did you mean " + nearest + "?");
  }
  const Value* use = value.find("use");
  if (use == nullptr || is_idle_deletion(*use)) {
    if (context.incomplete) return false; // it may stand in what could not be read
    diagnostics.error(value.where(), join_key(key, "use"), "is required and missing",
                      "name a plugin: use: " + kind + "/...");
    return false;
  }
  if (!use->is_scalar()) {
    diagnostics.error(use->where(), join_key(key, "use"),
                      "expected the id of a " + kind + ", found " + describe_value(*use), "write " + kind + "/...");
    return false;
  }
  if (!use->text().starts_with(kind + "/")) {
    const std::size_t slash = use->text().find('/');
    diagnostics.error(use->where(), join_key(key, "use"),
                      "expected the id of a " + kind + ", found " + describe_value(*use),
                      "write " + kind + "/" + (slash == std::string::npos ? use->text() : "..."));
    return false;
  }
  const Value* with = value.find("with");
  request.kind = kind;
  request.id = use->text();
  request.key = key;
  request.use = *use;
  request.with = with != nullptr && !with->is_null() ? *with : Value::null(value.where());
  return good;
}

int parse_choice(const Value& value, const std::string& key, const OptionSpec& spec, Diagnostics& diagnostics) {
  const auto found = std::find(spec.choices.begin(), spec.choices.end(), value.text());
  if (value.is_scalar() && found != spec.choices.end()) return static_cast<int>(found - spec.choices.begin());
  std::string fix;
  if (const std::string nearest = value.is_scalar() ? nearest_name(value.text(), spec.choices) : std::string{};
      !nearest.empty())
    fix = "did you mean " + nearest + "?";
  else
    fix = "write " + type_phrase(spec);
  diagnostics.error(value.where(), key, "expected " + type_phrase(spec) + ", found " + describe_value(value),
                    std::move(fix));
  return -1;
}

std::string render_text(const std::string& text) {
  // Plain when no YAML reader can take it for anything else: a narrow rule that covers names, paths and globs.
  const auto plain_char = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./+*=@%$()").find(c) != std::string_view::npos;
  };
  const auto letter_or_slash = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '/' || c == '_';
  };
  static constexpr std::array<std::string_view, 10> words = {"null", "true", "false", "yes", "no",
                                                             "on",   "off",  "y",     "n",   "~"};
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (!text.empty() && letter_or_slash(text.front()) && std::all_of(text.begin(), text.end(), plain_char) &&
      std::find(words.begin(), words.end(), lower) == words.end())
    return text;
  std::string quoted = "\"";
  for (char c : text) {
    switch (c) {
      case '"': quoted += "\\\""; break;
      case '\\': quoted += "\\\\"; break;
      case '\n': quoted += "\\n"; break;
      case '\t': quoted += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          static constexpr std::string_view hex = "0123456789abcdef";
          quoted += "\\x";
          quoted += hex[static_cast<unsigned char>(c) >> 4];
          quoted += hex[static_cast<unsigned char>(c) & 15];
        } else {
          quoted += c;
        }
    }
  }
  return quoted + "\"";
}

} // namespace detail
} // namespace conclave
