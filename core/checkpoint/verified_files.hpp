// Files of a checkpoint that somebody may have damaged or forged: read with bounds, never through a symbolic link, and
// checked against their manifest. Writing them is core/io's.
//
// Threading: DirectoryHandle's const functions may be called from several threads; the rest are functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "conclave/status.hpp"
#include "io/file_handle.hpp"
#include "io/file_writer.hpp"

namespace conclave {

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
