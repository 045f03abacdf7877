// Phrases that the option code shares: how a value and a range read in a message. Not installed.
#pragma once

#include <string>

#include "conclave/options.hpp"

namespace conclave::detail {

/// `nothing`, `a list`, `a map`, or the scalar's text in quotes, cut to one short printable line.
std::string describe_value(const Value& value);

/// `in [0, 1]`, `of at least 1`, `above 0`, `of at most 5`; "" without bounds.
std::string describe_range(const OptionSpec& spec);

} // namespace conclave::detail
