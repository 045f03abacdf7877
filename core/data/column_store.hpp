// ColumnStore: the values that one filter computed for one domain's documents, one mapped file per column.
//
// Threading: immutable; safe to read from any thread. A ColumnBlock belongs to one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "conclave/document.hpp"
#include "data/files.hpp"

namespace conclave::data {

class ColumnStore {
 public:
  static std::string file_name(std::size_t column);
  static Result<ColumnStore> open(const std::filesystem::path& directory, std::vector<ColumnSpec> specs);

  [[nodiscard]] std::uint64_t cell(std::size_t column, std::size_t row) const {
    return files_[column].as<std::uint64_t>()[row];
  }
  [[nodiscard]] const std::vector<ColumnSpec>& specs() const noexcept { return specs_; }

 private:
  std::vector<ColumnSpec> specs_;
  std::vector<MappedFile> files_;
};

/// A row of a store for a filter's select(), keys() and resolve(). A column that does not exist or has another type is a
/// bug of the filter and throws std::logic_error into it.
class StoredRow final : public ColumnRow {
 public:
  StoredRow(const ColumnStore& store, std::size_t row) : store_(&store), row_(row) {}
  [[nodiscard]] double real(std::size_t column) const override;
  [[nodiscard]] std::int64_t integer(std::size_t column) const override;
  [[nodiscard]] std::uint64_t bits(std::size_t column) const override;

 private:
  [[nodiscard]] std::uint64_t cell(std::size_t column, ColumnType type) const;
  const ColumnStore* store_;
  std::size_t row_;
};

/// The columns of a few documents while a filter writes them. A cell that is never set is 0. A wrong row, column or type
/// and a value that is not finite are bugs of the filter and throw into it.
class ColumnBlock final : public ColumnWriter {
 public:
  ColumnBlock(const std::vector<ColumnSpec>& specs, std::size_t rows);
  void set(std::size_t row, std::size_t column, double value) override;
  void set(std::size_t row, std::size_t column, std::int64_t value) override;
  void set_bits(std::size_t row, std::size_t column, std::uint64_t value) override;
  [[nodiscard]] const std::vector<std::uint64_t>& column(std::size_t column) const { return cells_[column]; }

 private:
  std::uint64_t& cell(std::size_t row, std::size_t column, ColumnType type);
  const std::vector<ColumnSpec>* specs_;
  std::vector<std::vector<std::uint64_t>> cells_;
};

} // namespace conclave::data
