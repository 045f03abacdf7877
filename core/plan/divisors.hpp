// Ways to divide ranks. Within core/plan.
#pragma once

#include <cstdint>
#include <vector>

namespace conclave::plan {

/// Of n >= 1, ascending.
inline std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> small, large;
  for (std::int64_t d = 1; d * d <= n; ++d) {
    if (n % d != 0) continue;
    small.push_back(d);
    if (d * d < n) large.push_back(n / d);
  }
  small.insert(small.end(), large.rbegin(), large.rend());
  return small;
}

} // namespace conclave::plan
