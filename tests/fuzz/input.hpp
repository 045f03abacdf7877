// What the fuzzers share: bytes as a file, and a check that holds with NDEBUG.
//
// Threading: single thread.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace conclave::fuzz {

inline void require(bool fact) {
  if (!fact) std::abort();
}

/// A file in memory that can be opened by its path.
class InputFile {
 public:
  InputFile() : file_(memfd_create("input", 0)), path_("/proc/self/fd/" + std::to_string(file_)) {
    require(file_ >= 0);
  }
  ~InputFile() { close(file_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  void set(std::string_view bytes) {
    require(ftruncate(file_, 0) == 0);
    require(pwrite(file_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  int file_;
  std::string path_;
};

inline std::string_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

} // namespace conclave::fuzz
