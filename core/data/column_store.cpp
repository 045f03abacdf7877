// Every cell is 64 bits: a double, an integer or bits, as the column's type says.

#include "data/column_store.hpp"

#include <bit>
#include <cmath>
#include <stdexcept>

namespace conclave::data {
namespace {

void check(const std::vector<ColumnSpec>& specs, std::size_t column, ColumnType type) {
  if (column >= specs.size())
    throw std::logic_error("column " + std::to_string(column) + " does not exist, the filter declares " +
                           std::to_string(specs.size()));
  if (specs[column].type != type) throw std::logic_error("column '" + specs[column].name + "' is used as another type");
}

} // namespace

std::string ColumnStore::file_name(std::size_t column) { return "column-" + std::to_string(column); }

Result<ColumnStore> ColumnStore::open(const std::filesystem::path& directory, std::vector<ColumnSpec> specs) {
  ColumnStore store;
  for (std::size_t c = 0; c < specs.size(); ++c) {
    CONCLAVE_ASSIGN(MappedFile file, MappedFile::open(directory / file_name(c)));
    store.files_.push_back(std::move(file));
  }
  store.specs_ = std::move(specs);
  return store;
}

std::uint64_t StoredRow::cell(std::size_t column, ColumnType type) const {
  check(store_->specs(), column, type);
  return store_->cell(column, row_);
}
double StoredRow::real(std::size_t column) const { return std::bit_cast<double>(cell(column, ColumnType::real)); }
std::int64_t StoredRow::integer(std::size_t column) const {
  return static_cast<std::int64_t>(cell(column, ColumnType::integer));
}
std::uint64_t StoredRow::bits(std::size_t column) const { return cell(column, ColumnType::bits64); }

ColumnBlock::ColumnBlock(const std::vector<ColumnSpec>& specs, std::size_t rows)
    : specs_(&specs), cells_(specs.size(), std::vector<std::uint64_t>(rows)) {}

std::uint64_t& ColumnBlock::cell(std::size_t row, std::size_t column, ColumnType type) {
  check(*specs_, column, type);
  if (row >= cells_[column].size())
    throw std::logic_error("row " + std::to_string(row) + " is past the documents given");
  return cells_[column][row];
}
void ColumnBlock::set(std::size_t row, std::size_t column, double value) {
  if (!std::isfinite(value)) {
    check(*specs_, column, ColumnType::real);
    throw std::domain_error("column '" + (*specs_)[column].name + "' was given a value that is not finite");
  }
  cell(row, column, ColumnType::real) = std::bit_cast<std::uint64_t>(value);
}
void ColumnBlock::set(std::size_t row, std::size_t column, std::int64_t value) {
  cell(row, column, ColumnType::integer) = static_cast<std::uint64_t>(value);
}
void ColumnBlock::set_bits(std::size_t row, std::size_t column, std::uint64_t value) {
  cell(row, column, ColumnType::bits64) = value;
}

} // namespace conclave::data
