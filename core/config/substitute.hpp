// Substitution of `${name}` and `${env:NAME}` in a composed tree.
//
// What this is: rule 4 of compose.hpp, with limits on what an expansion may grow to. What this is not: templating; there
// are no expressions, conditions or loops.
//
// Threading: reentrant, but for the process's environment, which must not change meanwhile.
#pragma once

#include <set>
#include <string>
#include <tuple>

#include "conclave/value.hpp"

namespace conclave {

/// The tree with variables replaced. `vars` may be null or a map; unused variables get a warning. Scalars that could not
/// be resolved stay as they are and their locations go to `unresolved`.
Value substitute(const Value& tree, const Value& vars, std::set<std::tuple<std::string, int, int>>& unresolved,
                 Diagnostics& diagnostics);

/// Writes `${` as `$${`, so that a text survives substitution.
std::string escape_variables(const std::string& text);

} // namespace conclave
