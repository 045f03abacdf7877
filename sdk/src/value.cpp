// Value, Location and Diagnostics: the located tree's nodes and the list of problems found in it.

#include "conclave/value.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

namespace conclave {

std::string Location::render() const {
  if (!file) return {};
  if (line <= 0) return *file;
  return *file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

struct Value::Node {
  Kind kind = Kind::null;
  bool quoted = false;
  Location where;
  std::string text;
  std::vector<Value> items;
  std::vector<Member> members;
};

Value Value::null(Location where) {
  auto node = std::make_shared<Node>();
  node->where = std::move(where);
  return Value(std::move(node));
}

Value Value::scalar(std::string text, Location where, bool quoted) {
  auto node = std::make_shared<Node>();
  node->kind = Kind::scalar;
  node->quoted = quoted;
  node->where = std::move(where);
  node->text = std::move(text);
  return Value(std::move(node));
}

Value Value::list(std::vector<Value> items, Location where) {
  auto node = std::make_shared<Node>();
  node->kind = Kind::list;
  node->where = std::move(where);
  node->items = std::move(items);
  return Value(std::move(node));
}

Value Value::map(std::vector<Member> members, Location where) {
  auto node = std::make_shared<Node>();
  node->kind = Kind::map;
  node->where = std::move(where);
  node->members = std::move(members);
  return Value(std::move(node));
}

// What a Value without a node answers.
namespace {
const Location no_location;
const std::string no_text;
const std::vector<Value> no_items;
const std::vector<Value::Member> no_members;
} // namespace

Value::Kind Value::kind() const noexcept { return node_ ? node_->kind : Kind::null; }
const Location& Value::where() const noexcept { return node_ ? node_->where : no_location; }
const std::string& Value::text() const noexcept { return node_ ? node_->text : no_text; }
bool Value::quoted() const noexcept { return node_ && node_->quoted; }
const std::vector<Value>& Value::items() const noexcept { return node_ ? node_->items : no_items; }
const std::vector<Value::Member>& Value::members() const noexcept { return node_ ? node_->members : no_members; }

const Value* Value::find(std::string_view key) const noexcept {
  for (const Member& member : members())
    if (member.key == key) return &member.value;
  return nullptr;
}

std::string Diagnostic::render() const {
  std::string text = where.render();
  const auto append = [&text](std::string_view part) {
    if (part.empty()) return;
    if (!text.empty()) text += ": ";
    text += part;
  };
  if (severity != Severity::error) append(severity == Severity::warning ? "warning" : "hint");
  append(key);
  append(what);
  append(fix);
  return text;
}

void Diagnostics::add(Diagnostic diagnostic) {
  if (diagnostic.severity == Severity::error) ++errors_;
  all_.push_back(std::move(diagnostic));
}

void Diagnostics::error(Location where, std::string key, std::string what, std::string fix) {
  add({Severity::error, std::move(where), std::move(key), std::move(what), std::move(fix)});
}
void Diagnostics::warning(Location where, std::string key, std::string what, std::string fix) {
  add({Severity::warning, std::move(where), std::move(key), std::move(what), std::move(fix)});
}
void Diagnostics::hint(Location where, std::string key, std::string what, std::string fix) {
  add({Severity::hint, std::move(where), std::move(key), std::move(what), std::move(fix)});
}

Code Diagnostics::error_code() const noexcept {
  std::optional<Code> first;
  for (const Diagnostic& diagnostic : all_) {
    if (diagnostic.severity != Severity::error) continue;
    if (diagnostic.code == Code::invalid_argument) return diagnostic.code;
    if (!first) first = diagnostic.code;
  }
  return first.value_or(Code::invalid_argument);
}

std::string Diagnostics::render() const {
  // Files keep the order in which they first complained (the experiment before what it extends is not known here).
  std::map<std::string, std::size_t> file_order;
  std::vector<const Diagnostic*> sorted;
  sorted.reserve(all_.size());
  for (const Diagnostic& diagnostic : all_) {
    sorted.push_back(&diagnostic);
    file_order.emplace(diagnostic.where.file ? *diagnostic.where.file : std::string{}, file_order.size());
  }
  const auto rank = [&file_order](const Diagnostic* d) {
    return file_order.at(d->where.file ? *d->where.file : std::string{});
  };
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Diagnostic* a, const Diagnostic* b) {
    return std::tuple(rank(a), a->where.line, a->where.column) < std::tuple(rank(b), b->where.line, b->where.column);
  });
  std::string text;
  for (const Diagnostic* diagnostic : sorted) text += diagnostic->render() + "\n";
  return text;
}

namespace {

// Optimal string alignment distance: insert, delete, replace and swap of neighbours cost one each.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

} // namespace

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t longest_name = 128; // the distance is quadratic; nobody mistypes a longer one
  if (word.empty() || word.size() > longest_name) return {};
  const std::size_t limit = std::max<std::size_t>(1, word.size() / 3);
  std::size_t best = limit + 1;
  std::string nearest;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > longest_name) continue;
    if (const std::size_t distance = edit_distance(word, candidate); distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

} // namespace conclave
