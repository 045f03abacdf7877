// Check: one line of `conclave doctor`.
//
// A family of checks (machine.hpp, storage.hpp, gpus.hpp, ...) has two halves: one that reads facts of this machine into a
// struct, and a pure one that judges the struct, which tests plant faults in. What stands on a line is decided by the second.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::doctor {

enum class Verdict { ok, warn, fail };
const char* to_string(Verdict verdict) noexcept;

struct Check {
  std::string name;
  Verdict verdict = Verdict::ok;
  std::string figure; ///< what was found, with its unit
  std::string advice; ///< what to do; "" when all is well
  friend bool operator==(const Check&, const Check&) = default;
};
using Checks = std::vector<Check>;

/// `ok` when the figure is at least what is wanted, else `fail` with "<wanted> wanted" before the advice.
Check at_least(std::string name, double found, double wanted, std::string figure, const std::string& wanted_text,
               const std::string& advice);

nlohmann::ordered_json to_json(const Check& check);
/// Of a text that to_json() made; Code::internal for any other.
Result<Check> check_from_json(const std::string& text);

/// "4.1 GB", powers of 1000.
std::string size_text(double bytes);
/// Three digits: "0.123", "45.6", "1230".
std::string number_text(double value);

} // namespace conclave::doctor
