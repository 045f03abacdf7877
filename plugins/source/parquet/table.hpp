// Table: some columns of a Parquet file, row by row, in at most 1 GiB of memory.
//
// What this is: row groups read one after the other, pages as they are needed, a few rows at a time. What this is not:
// documents (parquet_source.hpp). Arrow's exceptions and statuses end here and become ours.
//
// Threading: one thread at a time per object.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::parquet_source {

/// What the footer of a file says.
struct Layout {
  std::vector<std::int64_t> rows;  ///< of each row group
  std::vector<std::int64_t> bytes; ///< of each row group, as stored
};
Result<Layout> read_layout(const std::string& path);

class Table {
 public:
  virtual ~Table() = default;
  /// Goes to the next row; false at the end.
  virtual Result<bool> next() = 0;
  /// Number of the present row in the file, from 0.
  [[nodiscard]] virtual std::int64_t row() const noexcept = 0;
  /// The present row's value of columns[i] as text; nullopt: null.
  [[nodiscard]] virtual std::optional<std::string> text(std::size_t column) const = 0;
};

/// The row groups [first, last) of a file. `columns` are names, `a.b` for a field within a field; "" stands for a column that
/// is not wanted, whose values are null. A name that is not there, or whose values are neither text nor integers, is an
/// error that lists those that are.
Result<std::unique_ptr<Table>> open_table(const std::string& path, int first, int last,
                                          std::vector<std::string> columns);

} // namespace conclave::parquet_source
