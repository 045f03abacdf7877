// JSON text of one row.

#include "row.hpp"

#include <charconv>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "conclave/datakit/utf8.hpp"

namespace conclave::jsonl {
namespace {

/// Values under their label values; a leaf holds a number, an inner node holds nodes in the order of their arrival.
struct Tree {
  double value = 0;
  std::vector<std::pair<std::string, std::unique_ptr<Tree>>> children;
  std::map<std::string, Tree*> index;

  Tree& child(const std::string& name) {
    Tree*& found = index[name];
    if (!found) found = children.emplace_back(name, std::make_unique<Tree>()).second.get();
    return *found;
  }
  void render(std::string& out) const {
    if (children.empty()) {
      out += number_text(value);
      return;
    }
    out += '{';
    for (const auto& [name, node] : children) {
      if (out.back() != '{') out += ',';
      out += string_text(name) + ':';
      node->render(out);
    }
    out += '}';
  }
};

} // namespace

std::string number_text(double value) {
  if (std::isnan(value)) return "\"nan\"";
  if (std::isinf(value)) return value > 0 ? "\"inf\"" : "\"-inf\"";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return {buffer, end};
}

std::string string_text(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const char32_t code = datakit::decode(text, at);
    if (code == '"' || code == '\\')
      (out += '\\') += static_cast<char>(code);
    else if (code == '\n')
      out += "\\n";
    else if (code < 0x20)
      ((out += "\\u00") += digits[code >> 4]) += digits[code & 15];
    else
      datakit::append_utf8(code, out);
  }
  return out + '"';
}

void Row::key(std::string_view name) {
  if (text_.size() > 1) text_ += ',';
  text_ += string_text(name) + ':';
}

Row& Row::add(std::string_view name, std::int64_t value) {
  key(name);
  text_ += std::to_string(value);
  return *this;
}

Row& Row::add(std::string_view name, double value) {
  key(name);
  text_ += number_text(value);
  return *this;
}

Row& Row::add(std::string_view name, std::string_view value) {
  key(name);
  text_ += string_text(value);
  return *this;
}

Row& Row::add(const std::vector<Metric>& metrics, bool labelled) {
  std::set<std::string> seen; // a plugin may report a name twice: the first stays, so that no key is doubled
  std::vector<std::pair<std::string, Tree>> families;
  std::map<std::string, std::size_t> index;
  for (const Metric& metric : metrics) {
    if (metric.labels.empty()) {
      if (seen.insert(metric.name).second) add(metric.name, metric.value);
      continue;
    }
    if (!labelled) continue;
    std::string family = metric.name + "_by";
    for (const auto& [label, value] : metric.labels) family += "_" + label;
    const auto [found, fresh] = index.try_emplace(family, families.size());
    if (fresh) families.emplace_back(family, Tree{});
    Tree* node = &families[found->second].second;
    for (const auto& [label, value] : metric.labels) node = &node->child(value);
    node->value = metric.value;
  }
  for (const auto& [family, tree] : families) {
    if (!seen.insert(family).second) continue;
    key(family);
    tree.render(text_);
  }
  return *this;
}

} // namespace conclave::jsonl
