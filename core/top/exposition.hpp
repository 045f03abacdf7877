// Samples of a metrics page in Prometheus's text format (0.0.4).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::top {

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

/// Comments and lines that are no sample are left out; a time stamp after the value is ignored.
std::vector<Sample> parse_exposition(std::string_view text);

} // namespace conclave::top
