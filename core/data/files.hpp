// Files of the cache: mapped reading, digested appending, atomic writing. Every failure is Code::storage and names the path.
//
// What this is: the thin layer between the stages and POSIX. What this is not: the meaning of any file (stage.hpp,
// text_store.hpp, column_store.hpp, token_store.hpp).
//
// Threading: a MappedFile is immutable and may be read by any thread; a FileWriter belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/status.hpp"
#include "data/digest.hpp"

namespace conclave::data {

/// A file as its stage's manifest knows it.
struct FileEntry {
  std::string name; ///< relative to the stage's folder
  std::uint64_t bytes = 0;
  std::string digest; ///< Digest over the content
};

/// Says what could not be done with `path` and why (an errno value). A full disk says what to free.
Error file_error(std::string_view action, const std::filesystem::path& path, int error_number);

/// Owns a POSIX descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int descriptor = -1) noexcept : descriptor_(descriptor) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  [[nodiscard]] int get() const noexcept { return descriptor_; }
  int release() noexcept;

 private:
  int descriptor_;
};

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

/// Appends to a new file and digests what it writes. A writer that is destroyed without finish() leaves a partial file.
class FileWriter {
 public:
  static Result<FileWriter> create(const std::filesystem::path& path);

  Status append(const void* data, std::size_t size);
  template <class T>
  Status append_value(const T& value) {
    return append(&value, sizeof value);
  }
  /// Writes what is buffered, syncs and closes.
  Result<FileEntry> finish();
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

 private:
  FileWriter(std::filesystem::path path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}
  Status write_through(const char* data, std::size_t size);
  Status flush();

  std::filesystem::path path_;
  FileDescriptor file_;
  Digest digest_;
  std::vector<char> buffer_;
  std::uint64_t size_ = 0;
};

Result<std::string> read_file(const std::filesystem::path& path);
/// Temporary file, fsync, rename, fsync of the folder.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content);
Status sync_directory(const std::filesystem::path& path);
Status make_directories(const std::filesystem::path& path);
/// A second name for the same bytes: a hard link where the file system has them, else a copy.
Status link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to);

} // namespace conclave::data
