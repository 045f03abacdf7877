// Value: one immutable, located node of a configuration tree, and Diagnostics: every problem found in one pass.
//
// What this is: what an option table binds from. The host fills it from YAML (core/config); a test fills it by hand
// with the static makers. Scalars keep their raw text, because only the option knows whether `010` or `2M` is a number.
// What this is not: a YAML or JSON parser, or a mutable document.
//
// Threading: immutable after construction; safe to share between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

/// Where a value was written. line and column count from 1; line 0 means "not from a file".
struct Location {
  std::shared_ptr<const std::string> file; ///< a path, `--set #2`, or null for a built-in default
  int line = 0;
  int column = 0;
  /// `file:line:col`, or `file`, or "" when nothing is known.
  [[nodiscard]] std::string render() const;
};

class Value {
 public:
  enum class Kind { null, scalar, list, map };
  struct Member;

  Value() = default; // null without a location
  static Value null(Location where = {});
  /// quoted: the text stood in quotes, so it is a string whatever it looks like.
  static Value scalar(std::string text, Location where = {}, bool quoted = false);
  static Value list(std::vector<Value> items, Location where = {});
  /// Keys are unique; the caller has refused duplicates.
  static Value map(std::vector<Member> members, Location where = {});

  [[nodiscard]] Kind kind() const noexcept;
  [[nodiscard]] bool is_null() const noexcept { return kind() == Kind::null; }
  [[nodiscard]] bool is_scalar() const noexcept { return kind() == Kind::scalar; }
  [[nodiscard]] bool is_list() const noexcept { return kind() == Kind::list; }
  [[nodiscard]] bool is_map() const noexcept { return kind() == Kind::map; }
  [[nodiscard]] const Location& where() const noexcept;

  /// Raw text of a scalar; "" for the other kinds.
  [[nodiscard]] const std::string& text() const noexcept;
  [[nodiscard]] bool quoted() const noexcept;
  /// Items of a list; empty for the other kinds.
  [[nodiscard]] const std::vector<Value>& items() const noexcept;
  /// Members of a map in the order written; empty for the other kinds.
  [[nodiscard]] const std::vector<Member>& members() const noexcept;
  /// The member of that key, or nullptr. Linear: maps of experiments are small.
  [[nodiscard]] const Value* find(std::string_view key) const noexcept;

 private:
  struct Node;
  explicit Value(std::shared_ptr<const Node> node) : node_(std::move(node)) {}
  std::shared_ptr<const Node> node_;
};

struct Value::Member {
  std::string key;
  Location key_where;
  Value value;
};

enum class Severity { error, warning, hint };

struct Diagnostic {
  Severity severity = Severity::error;
  Location where;
  std::string key;  ///< dotted path from the root, e.g. `optimizer.with.lr`
  std::string what; ///< one sentence without a full stop
  std::string fix;  ///< what to do
  /// Of an error: invalid_argument when the experiment is wrong, another when it is right but this machine, build or
  /// plugin cannot serve it.
  Code code = Code::invalid_argument;
  /// `file:line:col: key: what: fix`, leaving out what is empty. A warning or hint says so after the location.
  [[nodiscard]] std::string render() const;
};

/// Collects problems so that a user sees all of them at once. Not thread safe.
class Diagnostics {
 public:
  void add(Diagnostic diagnostic);
  void error(Location where, std::string key, std::string what, std::string fix = {});
  void warning(Location where, std::string key, std::string what, std::string fix = {});
  void hint(Location where, std::string key, std::string what, std::string fix = {});

  [[nodiscard]] bool has_errors() const noexcept { return errors_ != 0; }
  [[nodiscard]] std::size_t error_count() const noexcept { return errors_; }
  /// What decides the exit code: invalid_argument when any error is of the experiment itself, else the first error's code.
  /// Precondition: has_errors().
  [[nodiscard]] Code error_code() const noexcept;
  [[nodiscard]] const std::vector<Diagnostic>& all() const noexcept { return all_; }
  /// One line per diagnostic, in the order of files and lines.
  [[nodiscard]] std::string render() const;

 private:
  std::vector<Diagnostic> all_;
  std::size_t errors_ = 0;
};

/// The candidate nearest to `word` (edit distance at most a third of its length, at least 1), or "" when none is near.
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

} // namespace conclave
