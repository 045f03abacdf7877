// Values of Arrow's columns as texts, whatever their layout.
//
// Threading: pure.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace conclave::parquet_source {

/// Whether text_at() gives anything for values of a type: text and bytes, also with 64-bit offsets or as views, integers,
/// and dictionaries of any of them.
bool is_readable(const arrow::DataType& type);

/// A value as text (an integer in decimal); nullopt for null and for a type that is_readable() denies. The bytes are as they
/// lie in the file.
std::optional<std::string> text_at(const arrow::Array& column, std::int64_t row);

} // namespace conclave::parquet_source
