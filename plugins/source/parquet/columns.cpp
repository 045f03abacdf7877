// Values as texts: see columns.hpp.

#include "columns.hpp"

#include <arrow/array.h>
#include <arrow/type.h>
#include <arrow/type_traits.h>

namespace conclave::parquet_source {
namespace {

template <class Array>
std::string bytes_at(const arrow::Array& column, std::int64_t row) {
  return std::string(static_cast<const Array&>(column).GetView(row));
}

template <class Array>
std::string number_at(const arrow::Array& column, std::int64_t row) {
  return std::to_string(static_cast<const Array&>(column).Value(row));
}

} // namespace

bool is_readable(const arrow::DataType& type) {
  if (type.id() == arrow::Type::DICTIONARY)
    return is_readable(*static_cast<const arrow::DictionaryType&>(type).value_type());
  return arrow::is_base_binary_like(type.id()) || arrow::is_binary_view_like(type.id()) || arrow::is_integer(type.id());
}

std::optional<std::string> text_at(const arrow::Array& column, std::int64_t row) {
  if (column.IsNull(row)) return std::nullopt;
  switch (column.type_id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY: return bytes_at<arrow::BinaryArray>(column, row);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY: return bytes_at<arrow::LargeBinaryArray>(column, row);
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW: return bytes_at<arrow::BinaryViewArray>(column, row);
    case arrow::Type::INT8: return number_at<arrow::Int8Array>(column, row);
    case arrow::Type::INT16: return number_at<arrow::Int16Array>(column, row);
    case arrow::Type::INT32: return number_at<arrow::Int32Array>(column, row);
    case arrow::Type::INT64: return number_at<arrow::Int64Array>(column, row);
    case arrow::Type::UINT8: return number_at<arrow::UInt8Array>(column, row);
    case arrow::Type::UINT16: return number_at<arrow::UInt16Array>(column, row);
    case arrow::Type::UINT32: return number_at<arrow::UInt32Array>(column, row);
    case arrow::Type::UINT64: return number_at<arrow::UInt64Array>(column, row);
    case arrow::Type::DICTIONARY: {
      const auto& indices = static_cast<const arrow::DictionaryArray&>(column);
      const std::int64_t index = indices.GetValueIndex(row);
      if (index < 0 || index >= indices.dictionary()->length()) return std::nullopt;
      return text_at(*indices.dictionary(), index);
    }
    default: return std::nullopt;
  }
}

} // namespace conclave::parquet_source
