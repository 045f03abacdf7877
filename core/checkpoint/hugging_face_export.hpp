// A checkpoint's weights in the form that Hugging Face tools load: config.json, safetensors and the tokenizer's files.
//
// What this is: renaming, converting and sharding of the model's tensors. What this is not: knowledge of any model; the
// model plugin gives config and names (HuggingFaceForm), the tokenizer plugin writes its own files.
//
// The model's tensors are those whose name holds no '/': optimizer states are called `optimizer/...`. A tensor that the
// form renames to "" has no place there and is left out.
//
// Threading: pure but for the files; memory is one tensor at a time.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/store.hpp"
#include "conclave/model.hpp"
#include "conclave/status.hpp"

namespace conclave {

struct HuggingFaceExport {
  HuggingFaceForm form;
  std::filesystem::path directory;   ///< made here; must be missing or empty
  at::ScalarType dtype = at::kFloat; ///< of every floating-point tensor in the files, and what config.json says
  /// Writes the tokenizer's files into that folder; empty = none.
  std::function<Status(const std::filesystem::path&)> write_tokenizer;
  std::int64_t max_file_bytes = 5'000'000'000; ///< above it: model-00001-of-0000N.safetensors and an index
};

struct HuggingFaceExported {
  std::vector<std::string> files; ///< weight files, by name
  std::int64_t tensors = 0;
  std::int64_t bytes = 0; ///< of weights
};

/// The folder appears whole or not at all. A folder with content is Code::invalid_argument; two tensors of one new name
/// and a config that is no JSON object are Code::internal.
Result<HuggingFaceExported> export_hugging_face(const CheckpointReader& reader, const HuggingFaceExport& request);

} // namespace conclave
