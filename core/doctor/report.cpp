// Columns and JSON.

#include "doctor/report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

namespace conclave::doctor {
namespace {

using nlohmann::ordered_json;

const char* word(Verdict verdict) { return verdict == Verdict::fail ? "FAIL" : to_string(verdict); }

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

bool well(const NodeChecks& node) {
  return std::all_of(node.checks.begin(), node.checks.end(),
                     [](const Check& check) { return check.verdict == Verdict::ok; });
}

std::string counted(std::size_t n, const char* one, const char* more) {
  return std::to_string(n) + " " + (n == 1 ? one : more);
}

} // namespace

std::size_t count(const std::vector<NodeChecks>& nodes, Verdict verdict) {
  std::size_t n = 0;
  for (const NodeChecks& node : nodes)
    n += static_cast<std::size_t>(std::count_if(node.checks.begin(), node.checks.end(),
                                                [verdict](const Check& check) { return check.verdict == verdict; }));
  return n;
}

std::string render(const std::vector<NodeChecks>& nodes) {
  std::size_t name = 0, checks = 0;
  for (const NodeChecks& node : nodes) {
    checks += node.checks.size();
    for (const Check& check : node.checks) name = std::max(name, check.name.size());
  }
  std::string text;
  for (const NodeChecks& node : nodes) {
    const bool brief = nodes.size() > 1 && well(node) && &node != &nodes.front();
    text += node.node + (brief ? ": " + std::to_string(node.checks.size()) + " checks are ok\n" : "\n");
    if (brief) continue;
    for (const Check& check : node.checks) {
      text += "  " + padded(word(check.verdict), 4) + "  " + padded(check.name, name) + "  " + check.figure + "\n";
      if (!check.advice.empty()) text += std::string(10 + name, ' ') + check.advice + "\n";
    }
  }
  return text + counted(count(nodes, Verdict::fail), "failure", "failures") + " and " +
         counted(count(nodes, Verdict::warn), "warning", "warnings") + " in " + counted(checks, "check", "checks") +
         " of " + counted(nodes.size(), "node", "nodes") + "\n";
}

std::string to_json(const std::vector<NodeChecks>& nodes) {
  ordered_json list = ordered_json::array();
  for (const NodeChecks& node : nodes) {
    ordered_json checks = ordered_json::array();
    for (const Check& check : node.checks) checks.push_back(to_json(check));
    list.push_back({{"node", node.node}, {"checks", std::move(checks)}});
  }
  const ordered_json report = {{"schema", 1},
                               {"failed", count(nodes, Verdict::fail)},
                               {"warnings", count(nodes, Verdict::warn)},
                               {"nodes", std::move(list)}};
  return report.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string pack(const NodeChecks& node) {
  std::string text = node.node + "\n";
  for (const Check& check : node.checks)
    text += to_json(check).dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  return text;
}

Result<NodeChecks> unpack(const std::string& text) {
  std::istringstream lines(text);
  NodeChecks node;
  std::getline(lines, node.node);
  for (std::string line; std::getline(lines, line);) {
    CONCLAVE_ASSIGN(Check check, check_from_json(line));
    node.checks.push_back(std::move(check));
  }
  return node;
}

} // namespace conclave::doctor
