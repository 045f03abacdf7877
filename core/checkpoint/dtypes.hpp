// The element types of safetensors files, their sizes, and what ATen calls them.
//
// Threading: a constant table.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace conclave {

struct DtypeInfo {
  std::string_view name; ///< as written in a safetensors header
  std::int64_t bytes;    ///< of one element
  c10::ScalarType scalar_type;
};

/// nullptr for a type that the format (or this build) does not know.
[[nodiscard]] const DtypeInfo* find_dtype(std::string_view name) noexcept;
[[nodiscard]] const DtypeInfo* find_dtype(c10::ScalarType type) noexcept;

/// Product of a shape times `bytes`; nothing when an extent is negative or the product passes 2^62.
[[nodiscard]] std::optional<std::int64_t> byte_count(const std::vector<std::int64_t>& shape,
                                                     std::int64_t bytes) noexcept;

} // namespace conclave
