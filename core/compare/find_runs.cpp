// Names to directories.

#include "compare/find_runs.hpp"

#include <glob.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace conclave::compare {
namespace fs = std::filesystem;

namespace {

bool is_run(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / "record.json", ignored) || fs::exists(folder / "metrics.jsonl", ignored);
}

/// `experts=8` before `experts=16`: runs of digits compare as numbers.
bool natural_less(const std::string& a, const std::string& b) {
  std::size_t i = 0, j = 0;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) && digit(b[j])) {
      std::size_t ai = i, bj = j;
      while (ai < a.size() && digit(a[ai])) ++ai;
      while (bj < b.size() && digit(b[bj])) ++bj;
      double left = 0, right = 0;
      std::from_chars(a.data() + i, a.data() + ai, left);
      std::from_chars(b.data() + j, b.data() + bj, right);
      if (left != right) return left < right;
      i = ai, j = bj;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i, ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

struct Membership {
  std::string sweep; // "": of none
  std::int64_t index = -1;
};
Membership membership_of(const fs::path& run) {
  std::ifstream in(run / "record.json");
  const auto record = nlohmann::json::parse(in, nullptr, false);
  if (!record.is_object() || !record.contains("sweep") || !record["sweep"].is_object()) return {};
  const nlohmann::json& sweep = record["sweep"];
  const auto name = sweep.find("name"), index = sweep.find("index");
  return {name != sweep.end() && name->is_string() ? name->get<std::string>() : std::string{},
          index != sweep.end() && index->is_number_integer() ? index->get<std::int64_t>() : -1};
}

/// Members of a sweep in its order, others by name.
void put_in_order(std::vector<fs::path>& runs) {
  std::map<fs::path, Membership> of;
  for (const fs::path& run : runs) of[run] = membership_of(run);
  std::sort(runs.begin(), runs.end(), [&](const fs::path& a, const fs::path& b) {
    const Membership &first = of.at(a), &second = of.at(b);
    if (first.sweep != second.sweep) return first.sweep < second.sweep;
    if (first.index != second.index) return first.index < second.index;
    return natural_less(a.string(), b.string());
  });
}

std::vector<fs::path> runs_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.is_directory(error) && is_run(entry.path())) found.push_back(entry.path());
  put_in_order(found);
  return found;
}

/// Members of that sweep, in a folder of its name or anywhere right below the root.
std::vector<fs::path> members_of(const std::string& sweep, const fs::path& root, std::set<std::string>& known) {
  std::vector<fs::path> found;
  std::vector<fs::path> candidates = runs_in(root);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error))
    if (entry.is_directory(error) && !is_run(entry.path()))
      for (const fs::path& run : runs_in(entry.path())) candidates.push_back(run);
  for (const fs::path& run : candidates) {
    const std::string name = membership_of(run).sweep;
    if (!name.empty()) known.insert(name);
    if (name == sweep) found.push_back(run);
  }
  put_in_order(found);
  return found;
}

std::vector<fs::path> matches(const std::string& pattern) {
  std::vector<fs::path> found;
  glob_t result{};
  if (::glob(pattern.c_str(), GLOB_NOSORT | GLOB_TILDE, nullptr, &result) == 0)
    for (std::size_t i = 0; i < result.gl_pathc; ++i) found.emplace_back(result.gl_pathv[i]);
  ::globfree(&result);
  put_in_order(found);
  return found;
}

} // namespace

Result<std::vector<fs::path>> find_runs(const std::vector<std::string>& names, const fs::path& root) {
  std::vector<fs::path> runs;
  std::set<fs::path> seen;
  for (const std::string& name : names) {
    std::vector<fs::path> found;
    std::error_code ignored;
    const bool is_folder = fs::is_directory(name, ignored);
    // A folder of that very name comes before a pattern: members are called experts=8,seed=[1].
    for (const fs::path& path : is_folder ? std::vector<fs::path>{name} : matches(name)) {
      if (is_run(path))
        found.push_back(path);
      else
        for (fs::path& run : runs_in(path)) found.push_back(std::move(run));
    }
    std::set<std::string> sweeps;
    if (found.empty()) found = members_of(name, root, sweeps);
    if (found.empty()) {
      std::string known;
      for (const std::string& sweep : sweeps) known += (known.empty() ? "" : ", ") + sweep;
      return invalid(is_folder ? "holds no run: neither record.json nor metrics.jsonl, here or one folder below"
                               : "is no run directory, no pattern that finds one, and no sweep in " + root.string(),
                     known.empty() ? "name folders that `conclave run` wrote, or a sweep" : "sweeps there: " + known,
                     name);
    }
    for (fs::path& path : found)
      if (seen.insert(fs::weakly_canonical(path, ignored)).second) runs.push_back(std::move(path));
  }
  return runs;
}

} // namespace conclave::compare
