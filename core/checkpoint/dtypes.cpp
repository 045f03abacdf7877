// The dtype table.

#include "checkpoint/dtypes.hpp"

#include <algorithm>
#include <array>

namespace conclave {
namespace {

constexpr std::array table = {
    DtypeInfo{"F64", 8, c10::ScalarType::Double},
    DtypeInfo{"F32", 4, c10::ScalarType::Float},
    DtypeInfo{"F16", 2, c10::ScalarType::Half},
    DtypeInfo{"BF16", 2, c10::ScalarType::BFloat16},
    DtypeInfo{"F8_E4M3", 1, c10::ScalarType::Float8_e4m3fn},
    DtypeInfo{"F8_E5M2", 1, c10::ScalarType::Float8_e5m2},
    DtypeInfo{"I64", 8, c10::ScalarType::Long},
    DtypeInfo{"I32", 4, c10::ScalarType::Int},
    DtypeInfo{"I16", 2, c10::ScalarType::Short},
    DtypeInfo{"I8", 1, c10::ScalarType::Char},
    DtypeInfo{"U8", 1, c10::ScalarType::Byte},
    DtypeInfo{"BOOL", 1, c10::ScalarType::Bool},
};

} // namespace

const DtypeInfo* find_dtype(std::string_view name) noexcept {
  const auto* found = std::find_if(table.begin(), table.end(), [&](const DtypeInfo& row) { return row.name == name; });
  return found == table.end() ? nullptr : found;
}

const DtypeInfo* find_dtype(c10::ScalarType type) noexcept {
  const auto* found =
      std::find_if(table.begin(), table.end(), [&](const DtypeInfo& row) { return row.scalar_type == type; });
  return found == table.end() ? nullptr : found;
}

std::optional<std::int64_t> byte_count(const std::vector<std::int64_t>& shape, std::int64_t bytes) noexcept {
  constexpr std::int64_t limit = std::int64_t{1} << 62;
  // A zero anywhere makes the product zero, but negative extents are refused wherever they stand.
  bool empty = false;
  std::int64_t total = bytes;
  for (const std::int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent == 0) empty = true;
    if (extent > 0 && total > limit / extent) return std::nullopt;
    if (extent > 0) total *= extent;
  }
  return empty ? 0 : total;
}

} // namespace conclave
