// Manifest: the file whose presence makes a folder a checkpoint, and that vouches for every other file in it.
//
// JSON, schema 1:
//   {"checksum": "xxh3-128:<32 digits>",            of this whole file with these 32 digits as zeros
//    "format": "conclave-checkpoint", "schema": 1, "step": 20,
//    "files":   {"tensors-00001.safetensors": {"bytes": 1234, "xxh3_128": "<32 digits>"}, ...},
//    "tensors": {"<global name>": {"dtype": "F32", "shape": [4, 8],
//                "boxes": [{"offset": [0, 0], "size": [4, 8], "file": "...", "begin": 96}, ...]}, ...},
//    "states":  {"<owner>": {"<name>": {"integer": 1} | {"real": 0.5 or "nan" "inf" "-inf"} | {"text": "..."} | {"hex": "..."}
//                | {"array": {"dtype": "F32", "shape": [2], "file": "...", "begin": 96}}}},
//    "meta":    {...}}                                what the host recorded of the run
// `begin` counts from the start of the file. The boxes of a tensor are disjoint and cover it.
//
// Threading: values and pure functions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "conclave/status.hpp"
#include "io/file_writer.hpp"

namespace conclave {

inline constexpr const char* manifest_name = "manifest.json";
inline constexpr int manifest_schema = 1;
/// A larger one is refused unread.
inline constexpr std::int64_t manifest_limit = std::int64_t{512} << 20;

struct ManifestBox {
  std::vector<std::int64_t> offset, size; ///< in the global tensor
  std::string file;
  std::int64_t begin = 0; ///< of its data in the file
};

struct ManifestTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<ManifestBox> boxes;
};

struct ManifestArray {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string file;
  std::int64_t begin = 0;
};

using ManifestState = std::variant<std::int64_t, double, std::string, ManifestArray>;

struct Manifest {
  std::int64_t step = 0;
  std::map<std::string, FileDigest> files;
  std::map<std::string, ManifestTensor> tensors;
  std::map<std::string, std::map<std::string, ManifestState>> states;
  std::string meta_json = "{}";
};

/// Code::internal when a name is not UTF-8 or meta_json is not a JSON object.
Result<std::string> encode_manifest(const Manifest& manifest);
/// Checks the checksum, then everything that can be checked without the other files: names that stay in the folder, known
/// dtypes, ranges within their files, boxes within their tensors, disjoint and covering. `path` serves the errors.
Result<Manifest> decode_manifest(std::string_view text, const std::filesystem::path& path);

/// "" when the boxes lie within the shape, are disjoint and cover it, else what is wrong.
std::string check_boxes(const std::vector<std::int64_t>& shape, const std::vector<ManifestBox>& boxes);

} // namespace conclave
