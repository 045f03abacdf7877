// Files of the cache: mapped reading, entries of a manifest, links. Every failure is Code::storage and names the path.
//
// What this is: what the stages need beside core/io, which writes their files. What this is not: the meaning of any file
// (stage.hpp, text_store.hpp, column_store.hpp, token_store.hpp).
//
// Threading: a MappedFile is immutable and may be read by any thread; the functions are free of state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "conclave/status.hpp"
#include "io/file_writer.hpp"

namespace conclave::data {

/// A file as its stage's manifest knows it.
struct FileEntry {
  std::string name; ///< relative to the stage's folder
  std::uint64_t bytes = 0;
  std::string digest; ///< Digest over the content
};

/// Finishes the writer; its pages stay in memory, because the next stage maps the file.
Result<FileEntry> finish_entry(FileWriter& writer, Sync sync = Sync::now);

/// A whole file, mapped read-only. An empty file maps to an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  static Result<MappedFile> open(const std::filesystem::path& path);

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }
  /// The content as an array; a trailing part of an element is left out. Mappings are page-aligned.
  template <class T>
  [[nodiscard]] std::span<const T> as() const noexcept {
    return {reinterpret_cast<const T*>(data_), size_ / sizeof(T)};
  }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

Result<std::string> read_file(const std::filesystem::path& path);
/// A second name for the same bytes: a hard link where the file system has them, else a copy.
Status link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to);

} // namespace conclave::data
