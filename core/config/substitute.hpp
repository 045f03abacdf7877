// Substitution of `${name}` and `${env:NAME}` in a composed tree.
//
// What this is: rule 4 of compose.hpp, with limits on what an expansion may grow to. What this is not: templating; there
// are no expressions, conditions or loops.
//
// Threading: reentrant, but for the process's environment, which must not change meanwhile.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "conclave/value.hpp"

namespace conclave {

/// The file, line and column of a scalar.
using Site = std::tuple<std::string, int, int>;
Site site_of(const Location& where);

/// What substitution leaves beside the tree.
struct Substituted {
  Value vars; ///< resolved; an unused or unresolvable variable as it was written
  /// Scalars whose `${..}` could not be resolved; an error says so, and what binding finds there is noise.
  std::set<Site> unresolved;
  /// Scalars of files -> the variables in them and the place of each, e.g. `${width} from --set #1`.
  std::map<Site, std::string> variables;
};

/// The tree with variables replaced. `vars` may be null or a map. Scalars that could not be resolved stay as they are.
/// A variable that neither the tree nor one of the texts `overridden` by later layers names gets a warning.
Value substitute(const Value& tree, const Value& vars, const std::vector<std::string>& overridden,
                 Substituted& substituted, Diagnostics& diagnostics);

/// Writes `${` as `$${`, so that a text survives substitution.
std::string escape_variables(const std::string& text);

} // namespace conclave
