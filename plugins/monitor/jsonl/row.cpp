// JSON text of one row.

#include "row.hpp"

#include <charconv>
#include <cmath>
#include <map>
#include <memory>
#include <set>

namespace conclave::jsonl {
namespace {

/// Length of the UTF-8 sequence at the start of `text`, 0 when there is none (RFC 3629: no surrogates, no overlong forms).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](std::size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    if (!tail(1) || !tail(2)) return 0;
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f)) return 0;
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f)) return 0;
    return 4;
  }
  return 0;
}

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
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text.front();
    if (length == 0)
      out += "\xef\xbf\xbd";
    else if (length > 1)
      out += text.substr(0, length);
    else if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (c == '\n')
      out += "\\n";
    else if (static_cast<unsigned char>(c) < 0x20)
      ((out += "\\u00") += digits[c >> 4]) += digits[c & 15];
    else
      out += c;
    text.remove_prefix(length == 0 ? 1 : length);
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
