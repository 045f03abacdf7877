// FileWriter: a file written from front to back, digested on the way, and on the disk when finish() says so.
//
// What this is: the one way in which the host writes files that must last; short writes, EINTR and errors of fsync()
// and close() are not lost. What this is not: anything that knows what the bytes mean.
//
// Threading: a writer belongs to one thread at a time; the functions are free of state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "conclave/status.hpp"
#include "io/digest.hpp"
#include "io/file_handle.hpp"

namespace conclave {

/// What a manifest says of a file.
struct FileDigest {
  std::int64_t bytes = 0;
  std::string xxh3_128; ///< Digest::hex() of the content
  bool operator==(const FileDigest&) const = default;
};

/// What create() does when the file is there.
enum class Existing {
  refuse,  ///< an error
  replace, ///< empties it
};

/// What becomes of the written pages in the machine's memory.
enum class Pages {
  keep, ///< whoever reads the file next finds them there
  drop, ///< a verifying read meets the disk
};

/// When the written bytes are on the disk.
enum class Sync {
  now,  ///< before finish() returns
  later ///< when the system likes: for a file whose digest is checked before it counts
};

class FileWriter {
 public:
  /// Never follows a symbolic link in the last part of `path`.
  static Result<FileWriter> create(const std::filesystem::path& path, Existing existing = Existing::refuse);

  /// Small pieces are gathered. After an error only the destructor may be called; it leaves what was written so far.
  Status write(std::span<const std::byte> data);
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Numbers and records in the machine's byte order.
  template <std::ranges::contiguous_range R>
  Status write_values(const R& values) {
    static_assert(std::is_trivially_copyable_v<std::ranges::range_value_t<R>>);
    return write(std::as_bytes(std::span(values)));
  }
  template <class T>
  Status write_value(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return write(std::as_bytes(std::span(&value, 1)));
  }
  /// Writes what was gathered, syncs and closes. The file's name is durable after sync_directory() of its folder.
  Result<FileDigest> finish(Pages pages = Pages::keep, Sync sync = Sync::now);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] std::int64_t size() const noexcept { return size_; } ///< bytes so far

 private:
  FileWriter(std::filesystem::path path, FileHandle file) : path_(std::move(path)), file_(std::move(file)) {}
  Status write_through(std::span<const std::byte> data);
  Status flush();

  std::filesystem::path path_;
  FileHandle file_;
  Digest digest_;
  std::vector<std::byte> gathered_;
  std::int64_t size_ = 0;
};

/// Creates `path` with that content; an existing file is an error.
Result<FileDigest> write_file(const std::filesystem::path& path, std::string_view content, Pages pages = Pages::keep,
                              Sync sync = Sync::now);

/// Has a file that was finished with Sync::later on the disk.
Status sync_file(const std::filesystem::path& path);

/// Readers see the old or the new content, never a part, whenever the process or the machine dies: written as
/// `<path>.tmp`, synced, renamed, and the folder synced. One writer at a time for a path.
Status write_file_atomically(const std::filesystem::path& path, std::string_view content);

} // namespace conclave
