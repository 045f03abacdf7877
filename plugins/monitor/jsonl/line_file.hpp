// LineFile: an append-only text file whose lines are whole, whatever killed the writer before.
//
// Each line is one write(2): it survives the death of the process the moment append() returns, and that of the machine
// after sync(). A last line without its newline, left by a kill in the middle of a write, is cut off when the file is opened.
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "conclave/status.hpp"

namespace conclave::jsonl {

class LineFile {
 public:
  /// Opens or creates the file. `cut()` says how many bytes of an incomplete line were removed.
  static Result<LineFile> open(const std::filesystem::path& path);
  LineFile(LineFile&& other) noexcept;
  LineFile& operator=(LineFile&& other) noexcept;
  ~LineFile();

  /// `line` ends with a newline. On an error the file is as it was before.
  Status append(std::string_view line);
  Status sync();
  [[nodiscard]] std::int64_t cut() const noexcept { return cut_; }

 private:
  LineFile(std::filesystem::path path, int descriptor) noexcept : path_(std::move(path)), descriptor_(descriptor) {}
  Status cut_incomplete_line();

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
  std::int64_t cut_ = 0;
};

} // namespace conclave::jsonl
