// Substitution of variables: a depth-first walk that resolves each variable once.

#include "config/substitute.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>

namespace conclave {
namespace {

constexpr std::size_t most_nodes = 100'000, most_bytes = std::size_t{4} << 20, longest_scalar = std::size_t{64} << 10;
constexpr int deepest = 64;
constexpr std::size_t longest_places = 1000; // of what a message says of one scalar's variables

bool is_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (text.empty() || !letter(text.front())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; });
}

struct Extent {
  std::size_t nodes = 1;
  int depth = 1;
};
Extent measure(const Value& value) {
  Extent total;
  const auto add = [&total](const Value& part) {
    const Extent extent = measure(part);
    total.nodes += extent.nodes;
    total.depth = std::max(total.depth, extent.depth + 1);
  };
  for (const Value& item : value.items()) add(item);
  for (const Value::Member& member : value.members()) add(member.value);
  return total;
}

class Substitution {
 public:
  Substitution(const Value& vars, Substituted& substituted, Diagnostics& diagnostics)
      : substituted_(substituted), diagnostics_(diagnostics) {
    if (!vars.is_null() && !vars.is_map()) {
      diagnostics.error(vars.where(), "vars", "expected a map of variables", "write vars: {name: value}");
    }
    for (const Value::Member& member : vars.members()) {
      if (!is_name(member.key)) {
        diagnostics.error(member.key_where, "vars." + member.key, "is not a name of a variable",
                          "use letters, digits, - and _, a letter first");
        continue;
      }
      variables_[member.key] = {&member, {}, State::fresh, {}, {}};
    }
  }

  Value walk(const Value& value, const std::string& key, int depth) {
    switch (value.kind()) {
      case Value::Kind::null: return value;
      case Value::Kind::scalar: return scalar(value, key, depth);
      case Value::Kind::list: {
        std::vector<Value> items;
        items.reserve(value.items().size());
        for (std::size_t i = 0; i < value.items().size(); ++i)
          items.push_back(walk(value.items()[i], key + "[" + std::to_string(i) + "]", depth + 1));
        return Value::list(std::move(items), value.where());
      }
      case Value::Kind::map: break;
    }
    std::vector<Value::Member> members;
    members.reserve(value.members().size());
    for (const Value::Member& member : value.members())
      members.push_back({member.key, member.key_where,
                         walk(member.value, key.empty() ? member.key : key + "." + member.key, depth + 1)});
    return Value::map(std::move(members), value.where());
  }

  void warn_unused(const std::vector<std::string>& overridden) {
    std::vector<std::string> used;
    for (const auto& [name, variable] : variables_)
      if (variable.state != State::fresh) used.push_back(name);
    for (const auto& [name, variable] : variables_) {
      const std::string reference = "${" + name + "}";
      const bool named = std::any_of(overridden.begin(), overridden.end(), [&](const std::string& text) {
        return text.find(reference) != std::string::npos;
      });
      if (variable.state != State::fresh || named) continue;
      // One of a file may wait for its use; one of the command line is there to change something.
      const std::string nearest = variable.member->key_where.line > 0 ? std::string{} : nearest_name(name, used);
      diagnostics_.warning(variable.member->key_where, "vars." + name, "is never used",
                           nearest.empty() ? "remove it, or write " + reference : "did you mean vars." + nearest + "?");
    }
  }

  // `vars` with what has been resolved.
  [[nodiscard]] Value resolved(const Value& vars) const {
    std::vector<Value::Member> members = vars.members();
    for (Value::Member& member : members)
      if (const auto found = variables_.find(member.key);
          found != variables_.end() && found->second.state == State::done)
        member.value = found->second.value;
    return Value::map(std::move(members), vars.where());
  }

 private:
  enum class State { fresh, visiting, done, failed };
  struct Variable {
    const Value::Member* member = nullptr;
    Value value;
    State state = State::fresh;
    Extent extent;
    std::string places; // its own, and those of the variables within it
  };

  Value fail(const Value& at, const std::string& key, std::string what, std::string fix) {
    diagnostics_.error(at.where(), key, std::move(what), std::move(fix));
    return mark(at);
  }
  Value mark(const Value& at) {
    substituted_.unresolved.insert(site_of(at.where()));
    return at;
  }

  // The variable's own value with its variables replaced, or null after a diagnostic.
  const Variable* resolve(const std::string& name, const Value& at, const std::string& key) {
    const auto found = variables_.find(name);
    if (found == variables_.end()) {
      std::vector<std::string> names;
      for (const auto& [known, unused] : variables_) names.push_back(known);
      const std::string nearest = nearest_name(name, names);
      fail(at, key, "the variable '" + name.substr(0, 60) + "' is not defined",
           nearest.empty() ? "add it under vars:, or write $${ for a literal ${" : "did you mean ${" + nearest + "}?");
      return nullptr;
    }
    Variable& variable = found->second;
    if (variable.state == State::visiting) {
      fail(at, key, "the variable '" + name + "' is defined by itself", "break the circle");
      return nullptr;
    }
    if (variable.state == State::fresh) {
      variable.state = State::visiting;
      const std::size_t errors = diagnostics_.error_count();
      variable.value = walk(variable.member->value, "vars." + name, 1);
      variable.extent = measure(variable.value);
      variable.places = "${" + name + "} from " + variable.member->value.where().render();
      if (const auto inner = substituted_.variables.find(site_of(variable.member->value.where()));
          inner != substituted_.variables.end() && inner->second.size() < longest_places)
        variable.places += ", " + inner->second;
      variable.state = diagnostics_.error_count() == errors ? State::done : State::failed;
    }
    if (variable.state == State::failed) {
      mark(at); // reported where it was defined
      return nullptr;
    }
    if (at.where().line > 0) { // the scalars of one `--set` share its place
      std::string& places = substituted_.variables[site_of(at.where())];
      if (places.find(variable.places) == std::string::npos && places.size() < longest_places)
        places += (places.empty() ? "" : ", ") + variable.places;
    }
    return &variable;
  }

  Value scalar(const Value& value, const std::string& key, int depth) {
    const std::string& text = value.text();
    if (text.find("${") == std::string::npos) return value;

    // Nothing but one reference: the variable's value itself, in its kind.
    if (text.starts_with("${") && text.find('}') == text.size() - 1) {
      const std::string name = text.substr(2, text.size() - 3);
      if (!name.starts_with("env:")) {
        const Variable* variable = resolve(name, value, key);
        if (variable == nullptr) return value;
        nodes_ += variable->extent.nodes;
        if (nodes_ > most_nodes || depth + variable->extent.depth > deepest)
          return fail(value, key, "the variables expand to too much", "make them smaller or flatter");
        if (!variable->value.is_scalar()) return variable->value;
        return Value::scalar(variable->value.text(), value.where(), variable->value.quoted());
      }
    }

    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      if (text.compare(i, 3, "$${") == 0) {
        out += "${";
        i += 3;
        continue;
      }
      if (text.compare(i, 2, "${") != 0) {
        out += text[i++];
        continue;
      }
      const std::size_t end = text.find('}', i);
      if (end == std::string::npos)
        return fail(value, key, "'${' has no '}'", "close it, or write $${ for a literal ${");
      const std::string name = text.substr(i + 2, end - i - 2);
      i = end + 1;
      if (name.starts_with("env:")) {
        const char* found = is_name(name.substr(4)) ? std::getenv(name.substr(4).c_str()) : nullptr;
        if (found == nullptr)
          return fail(value, key, "the environment variable '" + name.substr(4, 60) + "' is not set",
                      "export it before the run");
        out += found;
      } else {
        const Variable* variable = resolve(name, value, key);
        if (variable == nullptr) return value;
        if (!variable->value.is_scalar())
          return fail(value, key, "the variable '" + name + "' is not text", "write ${" + name + "} alone");
        out += variable->value.text();
      }
      if (out.size() > longest_scalar) return fail(value, key, "the variables expand to too much", "make them smaller");
    }
    bytes_ += out.size();
    if (bytes_ > most_bytes) return fail(value, key, "the variables expand to too much", "make them smaller");
    // Text from the environment may be a number as well as plain text: the option decides.
    return Value::scalar(std::move(out), value.where(), value.quoted() && !text.starts_with("${env:"));
  }

  std::map<std::string, Variable> variables_;
  Substituted& substituted_;
  Diagnostics& diagnostics_;
  std::size_t nodes_ = 0, bytes_ = 0;
};

} // namespace

Site site_of(const Location& where) { return {where.file ? *where.file : std::string{}, where.line, where.column}; }

Value substitute(const Value& tree, const Value& vars, const std::vector<std::string>& overridden,
                 Substituted& substituted, Diagnostics& diagnostics) {
  Substitution substitution(vars, substituted, diagnostics);
  Value done = substitution.walk(tree, {}, 0);
  substitution.warn_unused(overridden);
  substituted.vars = substitution.resolved(vars);
  return done;
}

std::string escape_variables(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "${") == 0) out += '$';
    out += text[i];
  }
  return out;
}

} // namespace conclave
