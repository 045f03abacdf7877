// The comparison as a JSON value: what to_json() writes and what the page starts from.
#pragma once

#include <nlohmann/json.hpp>

#include "compare/comparison.hpp"

namespace conclave::compare {

nlohmann::ordered_json as_json(const Comparison& comparison);

} // namespace conclave::compare
