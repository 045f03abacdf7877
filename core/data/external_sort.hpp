// ExternalSort: records sorted in bounded memory. What does not fit goes to a file without a name in a folder, as sorted
// runs, which are merged when the records are asked for.
//
// What this is: how the stages group what belongs together in any amount (deduplication). What this is not: a store; the
// file goes with the object, and with the process.
//
// Memory: at most the bytes given, for records while they are added and for blocks of the runs while they are merged.
//
// Threading: one thread at a time; sorting uses `workers` threads of its own. Errors: Code::storage when the folder cannot be
// written (disk full among them), Code::unsupported when there are more runs than the memory has room for a block of each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "conclave/status.hpp"
#include "io/file_handle.hpp"

namespace conclave::data {

struct SortRecord {
  std::uint64_t key = 0, value = 0, document = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 reads the 0 of a comparison category as a pointer
  friend auto operator<=>(const SortRecord&, const SortRecord&) = default;
};

class ExternalSort {
 public:
  /// `folder` exists. `workers` is at least 1. A `memory` below 1 MiB counts as that.
  ExternalSort(std::filesystem::path folder, std::size_t memory, int workers);

  Status add(const SortRecord& record);
  [[nodiscard]] std::uint64_t added() const noexcept { return added_; }
  /// Bytes that went to the file so far.
  [[nodiscard]] std::uint64_t spilled() const noexcept { return file_end_; }

  /// Hands over all records in ascending order, equal ones once, in blocks. An error of `consume` ends it. The records are
  /// gone afterwards and the object is as new.
  Status drain(const std::function<Status(std::span<const SortRecord>)>& consume);

 private:
  struct Run {
    std::uint64_t begin = 0, end = 0; ///< bytes of the file
  };
  struct Source;

  /// Sorts records_ in as many pieces as are worth a thread, and returns them.
  std::vector<std::span<const SortRecord>> sort_pieces();
  Status spill();
  Status refill(Source& source, std::size_t block) const;

  std::filesystem::path folder_;
  std::size_t memory_;
  std::size_t room_; ///< records that fit
  int workers_;
  std::vector<SortRecord> records_;
  std::uint64_t added_ = 0;
  FileHandle file_;
  std::uint64_t file_end_ = 0;
  std::vector<Run> runs_;
};

} // namespace conclave::data
