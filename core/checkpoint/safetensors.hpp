// The safetensors file format: plan a header, and read one that somebody else may have damaged or forged.
//
//   8 bytes  length N of the header, little-endian
//   N bytes  JSON object: {"__metadata__": {text: text}, "<name>": {"dtype", "shape", "data_offsets": [begin, end]}, ...}
//   rest     the data; offsets count from its start
//
// What this is: layout and validation, without any tensor. What this is not: file access beyond the header.
//
// Threading: values and pure functions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "io/file_handle.hpp"

namespace conclave {

/// Refused above: what the reference implementation accepts.
inline constexpr std::int64_t safetensors_header_limit = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  std::string dtype; ///< see dtypes.hpp
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0, end = 0; ///< bytes, from the start of the data
};

struct SafetensorsLayout {
  std::vector<SafetensorsEntry> entries; ///< in the order of the data, without holes
  std::map<std::string, std::string> metadata;
  std::int64_t data_begin = 0; ///< of the data in the file: 8 + header, a multiple of 8 in files of our own
  std::int64_t data_bytes = 0;
};

/// Sets the order (wide elements first, so that each tensor is aligned; then by name), begin and end of every entry, and
/// gives back the file's first bytes: length and header. Duplicate names, unknown dtypes and too much are Code::internal.
Result<std::string> plan_safetensors(SafetensorsLayout& layout);

/// Reads and checks the header of an open file: its length against the file's size before anything is allocated, no
/// duplicate key, each range as long as dtype and shape say, and the ranges fill the data without hole or overlap.
Result<SafetensorsLayout> read_safetensors(const FileHandle& file, const std::filesystem::path& path);

} // namespace conclave
