// Staging: a snapshot copied into host memory that is laid out as the files will be.
//
// What this is: the part of a save that the training step waits for. The buffers are kept for the next save, so a run
// holds one copy of its state at most, and pays for allocation once. Snapshots of a GPU go through page-locked memory.
// What this is not: anything that touches a disk.
//
// Threading: stage() on the step thread while nobody reads the result of the one before.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/manifest.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/store.hpp"

namespace conclave {

/// One safetensors file to be: `head` (length and header), then `data_bytes` of `data`.
struct StagedFile {
  std::string name;
  std::string head;
  const std::byte* data = nullptr; ///< in the staging buffers
  std::int64_t data_bytes = 0;
};

struct StagedSnapshot {
  std::vector<StagedFile> tensor_files;
  std::map<std::string, std::string> extra_files; ///< by name in the checkpoint folder
  Manifest manifest;                              ///< all but the files' digests
};

class Staging {
 public:
  /// A file holds tensors of up to `max_file_bytes`, or one larger tensor. `rank` is null on one rank; else it is part of
  /// the files' names, and a rank other than 0 stages no states, meta and extra files.
  explicit Staging(std::int64_t max_file_bytes, std::optional<int> rank = std::nullopt)
      : max_file_bytes_(max_file_bytes), rank_(rank) {}

  /// Returns when every value is in host memory. Boxes of a tensor that disagree on shape or type are Code::internal, as is
  /// a type that safetensors does not have; on one rank also boxes that overlap or do not cover their tensor.
  Result<StagedSnapshot> stage(Snapshot snapshot);

 private:
  Result<at::Tensor> buffer(std::size_t index, std::int64_t bytes, bool page_locked);

  std::int64_t max_file_bytes_;
  std::optional<int> rank_;
  std::vector<at::Tensor> buffers_; ///< uint8, one for each file
};

} // namespace conclave
