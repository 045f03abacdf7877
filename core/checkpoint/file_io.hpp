// Files of a checkpoint: written once with a running checksum and synced, read with bounds, never through a symbolic link.
//
// What this is: thin RAII over POSIX calls that keeps short writes, EINTR and fsync errors from being lost, and turns errno
// into an Error that names the path and says what to do. What this is not: anything that knows about tensors or manifests.
//
// Threading: an object belongs to one thread at a time; DirectoryHandle's const functions may be called from several.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "conclave/status.hpp"

namespace conclave {

/// `<path>: cannot <action>: <text of errno>: <what to do>`, Code::storage.
Error file_error(const std::filesystem::path& path, std::string_view action, int error_number);

/// Owns a file descriptor; -1 is "none".
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int descriptor) noexcept : descriptor_(descriptor) {}
  FileHandle(FileHandle&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileHandle& operator=(FileHandle&& other) noexcept;
  ~FileHandle() { reset(); }
  [[nodiscard]] int get() const noexcept { return descriptor_; }
  explicit operator bool() const noexcept { return descriptor_ >= 0; }
  /// Closes it. Where the result of close() matters, use FileWriter::finish().
  void reset() noexcept;
  [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_ = -1;
};

/// What a manifest says of a file.
struct FileDigest {
  std::int64_t bytes = 0;
  std::string xxh3_128; ///< 32 lower-case hexadecimal digits, XXH3 with 128 bits and seed 0, big-endian
  bool operator==(const FileDigest&) const = default;
};

/// XXH3-128 of a stream. It finds damage; it is no defence against somebody who forges files.
class Digester {
 public:
  Digester();
  ~Digester();
  Digester(Digester&&) noexcept;
  Digester& operator=(Digester&&) noexcept;
  void update(std::span<const std::byte> data);
  [[nodiscard]] FileDigest digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::int64_t bytes_ = 0;
};

/// Creates a new file (an existing one is an error) and writes it from front to back.
class FileWriter {
 public:
  static Result<FileWriter> create(const std::filesystem::path& path);
  Status write(std::span<const std::byte> data);
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// fsync, drops the pages from the cache (so that a verifying read meets the disk), closes.
  Result<FileDigest> finish();

 private:
  FileWriter(std::filesystem::path path, FileHandle file) : path_(std::move(path)), file_(std::move(file)) {}
  std::filesystem::path path_;
  FileHandle file_;
  Digester digester_;
};

/// Creates `path` with that content, synced.
Result<FileDigest> write_file(const std::filesystem::path& path, std::string_view content);

Status sync_directory(const std::filesystem::path& path);

/// True for `a.safetensors` and `files/a.json`: relative, no empty, `.` or `..` part, no backslash or control character, at
/// most 1024 bytes.
[[nodiscard]] bool is_safe_relative_name(std::string_view name) noexcept;

/// A folder held open, so that every file is looked up beneath it.
class DirectoryHandle {
 public:
  static Result<DirectoryHandle> open(const std::filesystem::path& path);

  /// Opens a regular file for reading. No part of `name` may be a symbolic link; an unsafe name is an error.
  [[nodiscard]] Result<FileHandle> open_file(std::string_view name) const;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  DirectoryHandle(std::filesystem::path path, FileHandle handle) : path_(std::move(path)), handle_(std::move(handle)) {}
  std::filesystem::path path_;
  FileHandle handle_;
};

/// Size of an open file.
Result<std::int64_t> file_size(const FileHandle& file, const std::filesystem::path& path);
/// Reads exactly `out.size()` bytes from `offset`; the file's end inside them is an error that says "truncated".
Status read_exactly(const FileHandle& file, const std::filesystem::path& path, std::int64_t offset,
                    std::span<std::byte> out);
/// Reads the whole file and checks size and checksum; `keep`, when not null, receives the content.
Status verify_file(const FileHandle& file, const std::filesystem::path& path, const FileDigest& expected,
                   std::string* keep = nullptr);

} // namespace conclave
