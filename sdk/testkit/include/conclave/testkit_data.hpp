// The test kit for data plugins: columns in memory, filters and sources run over a few texts.
//
// What this is: the smallest host of a Filter, DedupFilter or Source. What this is not: the prepare stages, which batch,
// cache and thread.
//
// Threading: single thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "conclave/filter.hpp"
#include "conclave/source.hpp"

namespace conclave::testkit {

/// The columns of a batch of documents: rows x columns, each cell of its column's type. Writing the wrong type, a row or
/// a column that is not there throws std::logic_error; so does reading a cell that nothing wrote.
class MemoryColumns final : public ColumnWriter {
 public:
  MemoryColumns(std::vector<ColumnSpec> columns, std::size_t rows);
  void set(std::size_t row, std::size_t column, double value) override;
  void set(std::size_t row, std::size_t column, std::int64_t value) override;
  void set_bits(std::size_t row, std::size_t column, std::uint64_t value) override;

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] const std::vector<ColumnSpec>& columns() const noexcept { return columns_; }
  /// True when every cell has been written.
  [[nodiscard]] bool complete() const noexcept;
  /// Cells of one row as comparable values; NaN equals NaN.
  [[nodiscard]] std::vector<std::uint64_t> raw_row(std::size_t row) const;

  class Row final : public ColumnRow {
   public:
    Row(const MemoryColumns& owner, std::size_t row) : owner_(&owner), row_(row) {}
    [[nodiscard]] double real(std::size_t column) const override;
    [[nodiscard]] std::int64_t integer(std::size_t column) const override;
    [[nodiscard]] std::uint64_t bits(std::size_t column) const override;

   private:
    const MemoryColumns* owner_;
    std::size_t row_;
  };
  /// Valid while this object lives.
  [[nodiscard]] Row row(std::size_t row) const { return {*this, row}; }

 private:
  using Cell = std::variant<std::monostate, double, std::int64_t, std::uint64_t>;
  Cell& cell(std::size_t row, std::size_t column, ColumnType type);
  [[nodiscard]] const Cell& cell(std::size_t row, std::size_t column, ColumnType type) const;

  std::vector<ColumnSpec> columns_;
  std::size_t rows_;
  std::vector<Cell> cells_; // row-major
};

/// annotate() over all texts in one batch, with ids `doc#0`, `doc#1`, ...
MemoryColumns annotate(Filter& filter, const std::vector<std::string>& texts);

/// The reason for which each text is dropped, "" when it is kept. For a DedupFilter this includes duplicates: all but
/// the first document of each cluster, found by comparing all pairs that share a key.
std::vector<std::string> verdicts(Filter& filter, const std::vector<std::string>& texts);

/// What a source gives in all. A shard that ends in an error is left there; `error` is the last one.
struct SourceOutcome {
  std::vector<RawDocument> documents;
  std::int64_t skipped = 0;
  std::string error; ///< rendered; "" when there was none
};
/// Shard by shard. No shards, or one that cannot be opened: the error alone.
SourceOutcome read_outcome(Source& source);

/// All documents of a source, shard by shard.
Result<std::vector<RawDocument>> read_all(Source& source);

} // namespace conclave::testkit
