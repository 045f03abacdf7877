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
/// Small files that are no tensors lie in this folder of a checkpoint.
inline constexpr const char* extra_folder = "files/";
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
  std::string checksum; ///< of the text that it was decoded from
};

/// Code::internal when a name is not UTF-8 or meta_json is not a JSON object.
Result<std::string> encode_manifest(const Manifest& manifest);
/// Of a whole checkpoint, or of one rank's part, whose boxes need not cover their tensors.
enum class ManifestScope { whole, part };

/// Checks the checksum, then everything that can be checked without the other files: names that stay in the folder, known
/// dtypes, ranges within their files and, of a whole one, boxes within their tensors, disjoint and covering. `path` serves
/// the errors.
Result<Manifest> decode_manifest(std::string_view text, const std::filesystem::path& path,
                                 ManifestScope scope = ManifestScope::whole);

/// Adds what rank `rank` wrote. Another step, a file that is there already, and tensors that disagree on type or shape are
/// Code::internal. Whether the boxes are disjoint and cover shows check_boxes() when all parts are there.
Status merge_part(Manifest& manifest, Manifest part, std::size_t rank);

/// check_boxes() of every tensor; Code::internal, with the tensor and the files of its boxes.
Status check_all_boxes(const Manifest& manifest);

/// "" when the boxes lie within the shape, are disjoint and cover it, else what is wrong.
std::string check_boxes(const std::vector<std::int64_t>& shape, const std::vector<ManifestBox>& boxes);

} // namespace conclave
