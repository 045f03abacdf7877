// MegatronWriter: token ids as Megatron's indexed data, `<prefix>.bin` and `<prefix>.idx` (conclave/datakit/megatron.hpp has the
// layout).
//
// What this is: a writer from front to back, a sequence a document. What this is not: a choice of documents.
//
// Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "conclave/datakit/megatron.hpp"
#include "io/file_writer.hpp"

namespace conclave::data {

class MegatronWriter {
 public:
  /// Creates both files; one that is there is an error. Ids are stored as Megatron would for that vocabulary: u16 below
  /// 65500, else i32.
  static Result<MegatronWriter> create(const std::filesystem::path& prefix, std::int32_t vocabulary_size);

  /// Ids of [0, vocabulary size). At most 2^31 - 1 of them, which is what the index can say. Keeps four bytes a document.
  Status add(std::span<const std::int32_t> ids);
  /// Writes the index and syncs both files. The names are durable after sync_directory() of their folder.
  Status finish();

  [[nodiscard]] std::int64_t documents() const noexcept { return static_cast<std::int64_t>(lengths_.size()); }

 private:
  MegatronWriter(FileWriter tokens, FileWriter index, datakit::MegatronType type)
      : tokens_(std::move(tokens)), index_(std::move(index)), type_(type) {}

  FileWriter tokens_, index_;
  datakit::MegatronType type_;
  std::vector<std::int32_t> lengths_;
  std::vector<std::uint16_t> narrow_;
};

} // namespace conclave::data
