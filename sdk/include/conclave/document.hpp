// Document and Column: what flows through the prepare stages between sources, filters and the tokenizer.
//
// Threading: a Document's views are valid only during the call that hands it over; copy what must stay.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave {

/// One text. `text` is UTF-8: the host has replaced or refused bytes that are not (`data.invalid_utf8`).
struct Document {
  std::string_view id; ///< stable within its source, e.g. `shard#17`
  std::string_view text;
};

enum class ColumnType { real, integer, bits64 };

/// A per-document value that a filter computes once and that select steps, reports and dedup read later.
struct ColumnSpec {
  std::string name; ///< unique within the filter
  ColumnType type = ColumnType::real;
  std::string doc;
};

/// Receives the columns of a batch of documents. Row i belongs to the i-th document of the span.
class ColumnWriter {
 public:
  virtual ~ColumnWriter();
  virtual void set(std::size_t row, std::size_t column, double value) = 0;
  virtual void set(std::size_t row, std::size_t column, std::int64_t value) = 0;
  virtual void set_bits(std::size_t row, std::size_t column, std::uint64_t value) = 0;
};

/// One document's columns, in the order of the filter's column list.
class ColumnRow {
 public:
  virtual ~ColumnRow();
  [[nodiscard]] virtual double real(std::size_t column) const = 0;
  [[nodiscard]] virtual std::int64_t integer(std::size_t column) const = 0;
  [[nodiscard]] virtual std::uint64_t bits(std::size_t column) const = 0;
};

} // namespace conclave
