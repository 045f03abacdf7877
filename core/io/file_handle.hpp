// FileHandle and file_error(): a descriptor that closes itself, and errno as an Error.
//
// Threading: an object belongs to one thread at a time.
#pragma once

#include <filesystem>
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

} // namespace conclave
