// OptionTable: the single description of a plugin's options, bound to the members of a plain struct.
//
//   struct Options { double lr = 1e-4; std::vector<double> betas = {0.9, 0.98}; Count warmup = 0; };
//   OptionTable table() {
//     return OptionTableBuilder<Options>()
//         .opt("lr", &Options::lr).range(0, 1).doc("Peak learning rate.")
//         .opt("betas", &Options::betas).length(2).range(0, 1).doc("Decay of the first and second moment.")
//         .validate([](const Options& o, OptionReport& report) {
//           if (o.betas[0] > o.betas[1]) report.error("betas", "the first is above the second", "swap them");
//         })
//         .build();
//   }
//
// What this is: the only source for parsing, error text, `plugins show`, JSON Schema, reference pages and config diff.
// A default is the member's own initialiser, so it stands in one place. What this is not: a reader of YAML; it binds a
// located Value. `range` on a list or map applies to its elements.
//
// Threading: build it on the stack, then it is immutable. Ownership: a table owns its specs and no options.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "conclave/value.hpp"

namespace conclave {

class Plugin;

// ---- option types beyond bool, int, int64_t, uint64_t, double and std::string ----

/// A count of things: accepts `100k`, `2M`, `1_000`, `3e6`. k, M, G, T are powers of 1000.
struct Count {
  std::int64_t value = 0;
  Count() = default;
  constexpr Count(std::int64_t v) : value(v) {}
  constexpr operator std::int64_t() const { return value; }
};

/// A size in bytes: accepts `80GiB` (powers of 1024), `80GB` (powers of 1000) and a plain number.
struct Bytes {
  std::int64_t value = 0;
  Bytes() = default;
  constexpr Bytes(std::int64_t v) : value(v) {}
  constexpr operator std::int64_t() const { return value; }
};

/// A time in seconds: accepts `250ms`, `60s`, `5m`, `2h`, `1d` and a plain number of seconds.
struct Seconds {
  double value = 0;
  Seconds() = default;
  constexpr Seconds(double v) : value(v) {}
  constexpr operator double() const { return value; }
};

/// A share of a whole in [0, 1]: accepts `5%` and `0.05`.
struct Fraction {
  double value = 0;
  Fraction() = default;
  constexpr Fraction(double v) : value(v) {}
  constexpr operator double() const { return value; }
};

/// A number of steps (`2000`, `2k`) or a share of all steps (`5%`).
struct StepsOrFraction {
  std::int64_t steps = 0;
  double fraction = -1; ///< in [0, 1] when given as a share, else negative
  static constexpr StepsOrFraction of_steps(std::int64_t n) { return {n, -1}; }
  static constexpr StepsOrFraction of_fraction(double f) { return {0, f}; }
  /// The number of steps out of `total`, rounded down.
  [[nodiscard]] std::int64_t resolve(std::int64_t total) const;
};

/// A file or folder. A relative path is relative to the file that wrote it; binding makes it absolute. Glob patterns stay
/// in. That it must exist belongs to `run`; `check` only hints.
struct Path {
  std::string value;
};

/// A nested `{use: kind/name, with: {...}}` block whose plugin the host builds before the outer one and hands over.
/// K is a kind's interface (Scheduler, Tokenizer, ...). Null when the block was left out; never null when required().
template <class K>
struct Child {
  std::shared_ptr<K> plugin;
  explicit operator bool() const { return plugin != nullptr; }
  K* operator->() const { return plugin.get(); }
  K& operator*() const { return *plugin; }
};

// ---- the description ----

enum class OptionType {
  boolean,
  integer,
  real,
  text,
  path,
  count,
  bytes,
  seconds,
  fraction,
  steps_or_fraction,
  choice,
  list,
  map,
  group,
  plugin
};
const char* to_string(OptionType type) noexcept;

/// What changes when the option does. `selection` is numerics of a filter's select step alone: changing it keeps the
/// cached annotations.
enum class Affects { numerics, selection, speed, io, naming };
const char* to_string(Affects affects) noexcept;

struct OptionSpec;

/// Where and how to bind.
struct BindContext {
  std::string base_directory; ///< where relative paths of values without a file start
  /// Some of what was written could not be read: what is missing is no error then, and validate() is not asked.
  bool incomplete = false;
};

/// A nested plugin block found while binding; the host builds it and calls `assign` with the outer options object.
struct ChildRequest {
  std::string kind; ///< e.g. "scheduler"
  std::string id;   ///< e.g. "scheduler/warmup-cosine"
  std::string key;  ///< dotted path of the block
  Value use;        ///< the scalar naming the plugin (its location serves errors)
  Value with;       ///< its options; null when left out
  std::function<void(void* options, std::shared_ptr<Plugin> child)> assign;
};

/// Problems that a plugin finds across its own options. Keys are the option's names; the host adds locations.
class OptionReport {
 public:
  void error(std::string key, std::string what, std::string fix = {});
  void warning(std::string key, std::string what, std::string fix = {});
  void hint(std::string key, std::string what, std::string fix = {});
  struct Entry {
    Severity severity;
    std::string key, what, fix;
  };
  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  std::vector<Entry> entries_;
};

struct OptionSpec {
  std::string name;
  OptionType type = OptionType::text;
  OptionType element = OptionType::text; ///< of a list or map
  std::string doc;
  std::string default_text; ///< as one would write it in YAML (flow style); "" when required or absent
  bool required = false;
  bool optional = false; ///< std::optional: may be `null`
  std::optional<double> minimum, maximum;
  bool minimum_exclusive = false;
  std::optional<std::size_t> length; ///< of a list
  std::vector<std::string> choices;
  std::vector<std::string> deprecated_aliases;
  std::string kind; ///< of a plugin option
  Affects affects = Affects::numerics;
  std::vector<OptionSpec> fields; ///< of a group, or of the elements of a list or map of groups

  /// Parses `value` into the member of `object`. All problems go to `diagnostics` with `key` as their path.
  std::function<void(const Value& value, const std::string& key, const OptionSpec& self, const BindContext&,
                     void* object, Diagnostics&, std::vector<ChildRequest>&)>
      parse;
  /// The member's value as one would write it in YAML (flow style).
  std::function<std::string(const void* object)> render;
};

class OptionTable {
 public:
  OptionTable() = default; // no options at all

  [[nodiscard]] const std::vector<OptionSpec>& specs() const noexcept { return specs_; }
  [[nodiscard]] const OptionSpec* find(std::string_view name) const noexcept;

  /// A new options object holding every default. Never null for a built table.
  [[nodiscard]] std::shared_ptr<void> make() const;
  /// A copy of an options object of this table: each instance with nested plugins gets its own. Null like make().
  [[nodiscard]] std::shared_ptr<void> copy(const void* options) const { return copy_ ? copy_(options) : nullptr; }

  /// Binds `with` (a map, or null for "all defaults") into `options`, which came from make(). Unknown keys (with a
  /// did-you-mean), missing required ones, wrong types and ranges, and validate()'s findings all go to `diagnostics`
  /// under `key_prefix`. validate() runs only when nothing else was wrong. A null without a location stands for a deletion
  /// that found nothing to delete, which is no error for a known key.
  void bind(const Value& with, const std::string& key_prefix, const BindContext& context, void* options,
            Diagnostics& diagnostics, std::vector<ChildRequest>& children) const;

  /// {name, text} of every option as bound, nested groups as flow maps; the input of resolved.yaml and cache keys.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> render(const void* options) const;

  /// One option's value of the struct as it would be written; used for tests and for diffs.
  [[nodiscard]] std::string render(const void* options, std::string_view name) const;

 private:
  template <class O>
  friend class OptionTableBuilder;
  std::vector<OptionSpec> specs_;
  std::function<std::shared_ptr<void>()> make_;
  std::function<std::shared_ptr<void>(const void*)> copy_;
  std::function<void(const void*, OptionReport&)> validate_;
};

// ---- codecs: how one C++ type is parsed and rendered ----
// A codec has `static constexpr OptionType type`, `parse` (false after adding a diagnostic) and `render`.

namespace detail {

struct ParseScope {
  const OptionSpec& spec;
  const BindContext& context;
  Diagnostics& diagnostics;
  std::vector<ChildRequest>& children;
};

template <class T>
struct Codec; // specialised below; an unsupported member type does not compile

#define CONCLAVE_DECLARE_CODEC(T, option_type)                                                      \
  template <>                                                                                       \
  struct Codec<T> {                                                                                 \
    static constexpr OptionType type = option_type;                                                 \
    static bool parse(const Value& value, const std::string& key, const ParseScope& scope, T& out); \
    static std::string render(const T& value);                                                      \
  }
CONCLAVE_DECLARE_CODEC(bool, OptionType::boolean);
CONCLAVE_DECLARE_CODEC(int, OptionType::integer);
CONCLAVE_DECLARE_CODEC(std::int64_t, OptionType::integer);
CONCLAVE_DECLARE_CODEC(std::uint64_t, OptionType::integer);
CONCLAVE_DECLARE_CODEC(double, OptionType::real);
CONCLAVE_DECLARE_CODEC(std::string, OptionType::text);
CONCLAVE_DECLARE_CODEC(Path, OptionType::path);
CONCLAVE_DECLARE_CODEC(Count, OptionType::count);
CONCLAVE_DECLARE_CODEC(Bytes, OptionType::bytes);
CONCLAVE_DECLARE_CODEC(Seconds, OptionType::seconds);
CONCLAVE_DECLARE_CODEC(Fraction, OptionType::fraction);
CONCLAVE_DECLARE_CODEC(StepsOrFraction, OptionType::steps_or_fraction);
#undef CONCLAVE_DECLARE_CODEC

/// Adds `expected a list / a map, found ...` and returns false when the kind is another one.
bool expect_list(const Value& value, const std::string& key, Diagnostics& diagnostics);
bool expect_map(const Value& value, const std::string& key, Diagnostics& diagnostics);
/// Whether a plugin block may have a `name:`, as the items of a list do.
enum class BlockName { refused, allowed };
/// Reads a `{use, with}` block of that kind into `request` (without `assign`).
bool parse_child(const Value& value, const std::string& key, const std::string& kind, BlockName name,
                 const BindContext& context, Diagnostics& diagnostics, ChildRequest& request);
/// True for a null that stands for a deletion which found nothing to delete.
inline bool is_idle_deletion(const Value& value) { return value.is_null() && !value.where().file; }
/// Index of the choice that `value` names, or -1 after a diagnostic with a did-you-mean.
int parse_choice(const Value& value, const std::string& key, const OptionSpec& spec, Diagnostics& diagnostics);
/// A YAML flow scalar: quoted when plain would read as something else.
std::string render_text(const std::string& text);

template <class T>
struct Codec<std::vector<T>> {
  static constexpr OptionType type = OptionType::list;
  static bool parse(const Value& value, const std::string& key, const ParseScope& scope, std::vector<T>& out) {
    // A scalar where a list is wanted is a list of one: `paths: a.txt`.
    std::vector<Value> items = value.is_scalar() ? std::vector<Value>{value} : value.items();
    if (!value.is_scalar() && !expect_list(value, key, scope.diagnostics)) return false;
    std::vector<T> parsed;
    bool good = true;
    for (std::size_t i = 0; i < items.size(); ++i) {
      T item{};
      good &= Codec<T>::parse(items[i], key + "[" + std::to_string(i) + "]", scope, item);
      parsed.push_back(std::move(item));
    }
    if (scope.spec.length && parsed.size() != *scope.spec.length) {
      scope.diagnostics.error(
          value.where(), key,
          "expected " + std::to_string(*scope.spec.length) + " values, found " + std::to_string(parsed.size()));
      good = false;
    }
    if (good) out = std::move(parsed);
    return good;
  }
  static std::string render(const std::vector<T>& values) {
    std::string text = "[";
    for (std::size_t i = 0; i < values.size(); ++i) text += (i ? ", " : "") + Codec<T>::render(values[i]);
    return text + "]";
  }
};

template <class T>
struct Codec<std::map<std::string, T>> {
  static constexpr OptionType type = OptionType::map;
  static bool parse(const Value& value, const std::string& key, const ParseScope& scope,
                    std::map<std::string, T>& out) {
    if (!expect_map(value, key, scope.diagnostics)) return false;
    std::map<std::string, T> parsed;
    bool good = true;
    for (const auto& member : value.members())
      if (!is_idle_deletion(member.value))
        good &= Codec<T>::parse(member.value, key + "." + member.key, scope, parsed[member.key]);
    if (good) out = std::move(parsed);
    return good;
  }
  static std::string render(const std::map<std::string, T>& values) {
    std::string text = "{";
    for (const auto& [name, item] : values)
      text += (text.size() > 1 ? ", " : "") + render_text(name) + ": " + Codec<T>::render(item);
    return text + "}";
  }
};

template <class T>
struct Codec<std::optional<T>> {
  static constexpr OptionType type = Codec<T>::type;
  static bool parse(const Value& value, const std::string& key, const ParseScope& scope, std::optional<T>& out) {
    if (value.is_null()) {
      out.reset();
      return true;
    }
    T parsed{};
    if (!Codec<T>::parse(value, key, scope, parsed)) return false;
    out = std::move(parsed);
    return true;
  }
  static std::string render(const std::optional<T>& value) { return value ? Codec<T>::render(*value) : "null"; }
};

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct ElementType {
  static constexpr OptionType value = OptionType::text;
};
template <class T>
struct ElementType<std::vector<T>> {
  static constexpr OptionType value = Codec<T>::type;
};
template <class T>
struct ElementType<std::map<std::string, T>> {
  static constexpr OptionType value = Codec<T>::type;
};

} // namespace detail

/// Describes struct O. Each of range, choices, doc, ... speaks of the option added last.
template <class O>
class OptionTableBuilder {
 public:
  /// An option that reads and writes `member`; its default is the member's initialiser.
  template <class M>
  OptionTableBuilder& opt(std::string name, M O::*member) {
    OptionSpec& spec = add(std::move(name), detail::Codec<M>::type);
    spec.element = detail::ElementType<M>::value;
    spec.optional = detail::IsOptional<M>::value;
    spec.default_text = detail::Codec<M>::render(defaults_.*member);
    spec.parse = [member](const Value& value, const std::string& key, const OptionSpec& self,
                          const BindContext& context, void* object, Diagnostics& diagnostics,
                          std::vector<ChildRequest>& children) {
      detail::Codec<M>::parse(value, key, {self, context, diagnostics, children}, static_cast<O*>(object)->*member);
    };
    spec.render = [member](const void* object) {
      return detail::Codec<M>::render(static_cast<const O*>(object)->*member);
    };
    return *this;
  }

  /// An enumeration. `names` pairs what a user writes with the value.
  template <class E>
  requires std::is_enum_v<E> OptionTableBuilder& choice(std::string name, E O::*member,
                                                        std::vector<std::pair<std::string, E>> names) {
    OptionSpec& spec = add(std::move(name), OptionType::choice);
    for (const auto& [text, value] : names) {
      spec.choices.push_back(text);
      if (value == defaults_.*member) spec.default_text = text;
    }
    spec.parse = [member, names](const Value& value, const std::string& key, const OptionSpec& self, const BindContext&,
                                 void* object, Diagnostics& diagnostics, std::vector<ChildRequest>&) {
      const int index = detail::parse_choice(value, key, self, diagnostics);
      if (index >= 0) static_cast<O*>(object)->*member = names[static_cast<std::size_t>(index)].second;
    };
    spec.render = [member, names](const void* object) {
      for (const auto& [text, value] : names)
        if (value == static_cast<const O*>(object)->*member) return text;
      return std::string{};
    };
    return *this;
  }

  /// A nested struct with a table of its own, written as a map.
  template <class G>
  OptionTableBuilder& group(std::string name, G O::*member, OptionTable table) {
    OptionSpec& spec = add(std::move(name), OptionType::group);
    spec.fields = table.specs();
    spec.default_text = render_group(table, &(defaults_.*member));
    auto shared = std::make_shared<const OptionTable>(std::move(table));
    spec.parse = [member, shared](const Value& value, const std::string& key, const OptionSpec&,
                                  const BindContext& context, void* object, Diagnostics& diagnostics,
                                  std::vector<ChildRequest>& children) {
      std::vector<ChildRequest> nested;
      shared->bind(value, key, context, &(static_cast<O*>(object)->*member), diagnostics, nested);
      for (ChildRequest& child : nested) { // the inner request assigns into the group; lift it to the outer object
        auto inner = std::move(child.assign);
        child.assign = [member, inner](void* outer, std::shared_ptr<Plugin> plugin) {
          inner(&(static_cast<O*>(outer)->*member), std::move(plugin));
        };
        children.push_back(std::move(child));
      }
    };
    spec.render = [member, shared](const void* object) {
      return render_group(*shared, &(static_cast<const O*>(object)->*member));
    };
    return *this;
  }

  /// A nested plugin of K's kind.
  template <class K>
  OptionTableBuilder& plugin(std::string name, Child<K> O::*member) {
    OptionSpec& spec = add(std::move(name), OptionType::plugin);
    spec.kind = K::kind;
    spec.optional = true;
    spec.default_text = "null";
    spec.parse = [member](const Value& value, const std::string& key, const OptionSpec& self,
                          const BindContext& context, void*, Diagnostics& diagnostics,
                          std::vector<ChildRequest>& children) {
      if (value.is_null()) return;
      ChildRequest request;
      const bool good =
          detail::parse_child(value, key, self.kind, detail::BlockName::refused, context, diagnostics, request);
      if (!good && request.id.empty()) return; // else its options are worth binding: all errors at once
      request.assign = [member](void* object, std::shared_ptr<Plugin> child) {
        (static_cast<O*>(object)->*member).plugin = std::static_pointer_cast<K>(std::move(child));
      };
      children.push_back(std::move(request));
    };
    spec.render = [](const void*) { return std::string{}; }; // the host renders children from their own tables
    return *this;
  }

  /// An option in a form of its own. Without `parse` whoever calls bind() reads it; it stands here so that the names
  /// known to error texts, the schema and the reference are whole.
  OptionTableBuilder& custom(OptionSpec spec) {
    if (!spec.parse)
      spec.parse = [](const Value&, const std::string&, const OptionSpec&, const BindContext&, void*, Diagnostics&,
                      std::vector<ChildRequest>&) {};
    if (!spec.render) spec.render = [](const void*) { return std::string{}; };
    table_.specs_.push_back(std::move(spec));
    return *this;
  }

  /// Inclusive bounds of a number, or of each element.
  OptionTableBuilder& range(double minimum, double maximum) {
    last().minimum = minimum;
    last().maximum = maximum;
    return *this;
  }
  OptionTableBuilder& at_least(double minimum) {
    last().minimum = minimum;
    return *this;
  }
  OptionTableBuilder& above(double minimum) {
    last().minimum = minimum;
    last().minimum_exclusive = true;
    return *this;
  }
  OptionTableBuilder& length(std::size_t n) {
    last().length = n;
    return *this;
  }
  OptionTableBuilder& doc(std::string text) {
    last().doc = std::move(text);
    return *this;
  }
  OptionTableBuilder& affects(Affects what) {
    last().affects = what;
    return *this;
  }
  OptionTableBuilder& required() {
    last().required = true;
    if (last().type == OptionType::plugin) last().optional = false; // a null child would be none at all
    last().default_text.clear();
    return *this;
  }
  /// An old name that still works, with a warning.
  OptionTableBuilder& deprecated_alias(std::string name) {
    last().deprecated_aliases.push_back(std::move(name));
    return *this;
  }
  /// Errors across options; runs after every single option was right.
  OptionTableBuilder& validate(std::function<void(const O&, OptionReport&)> check) {
    table_.validate_ = [check = std::move(check)](const void* object, OptionReport& report) {
      check(*static_cast<const O*>(object), report);
    };
    return *this;
  }
  [[nodiscard]] OptionTable build() {
    table_.make_ = [] { return std::static_pointer_cast<void>(std::make_shared<O>()); };
    table_.copy_ = [](const void* object) {
      return std::static_pointer_cast<void>(std::make_shared<O>(*static_cast<const O*>(object)));
    };
    return std::move(table_);
  }

 private:
  OptionSpec& add(std::string name, OptionType type) {
    table_.specs_.emplace_back();
    last().name = std::move(name);
    last().type = type;
    return last();
  }
  OptionSpec& last() { return table_.specs_.back(); }
  static std::string render_group(const OptionTable& table, const void* object) {
    std::string text = "{";
    for (const auto& [name, value] : table.render(object)) text += (text.size() > 1 ? ", " : "") + name + ": " + value;
    return text + "}";
  }
  OptionTable table_;
  O defaults_{};
};

} // namespace conclave
