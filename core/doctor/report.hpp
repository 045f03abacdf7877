// The checks of all nodes as a table and as JSON.
#pragma once

#include <string>
#include <vector>

#include "doctor/check.hpp"

namespace conclave::doctor {

struct NodeChecks {
  std::string node; ///< name of the machine
  Checks checks;
};

std::size_t count(const std::vector<NodeChecks>& nodes, Verdict verdict);

/// Lines under each node's name, and a last line that counts. Of several nodes, those that are well throughout are one line.
std::string render(const std::vector<NodeChecks>& nodes);
/// {"schema": 1, "failed": 0, "warnings": 2, "nodes": [{"node": ..., "checks": [{name, verdict, figure, advice}]}]}
std::string to_json(const std::vector<NodeChecks>& nodes);

/// One node as text for the others to read, and back.
std::string pack(const NodeChecks& node);
Result<NodeChecks> unpack(const std::string& text);

} // namespace conclave::doctor
