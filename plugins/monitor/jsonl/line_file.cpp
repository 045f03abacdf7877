// Whole lines over POSIX files.

#include "line_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace conclave::jsonl {
namespace {

Error failed(const std::filesystem::path& path, const char* what, int error_number) {
  return storage_error(std::string("cannot ") + what + ": " + std::generic_category().message(error_number),
                       "free space or make the folder writable", path.string());
}

} // namespace

Result<LineFile> LineFile::open(const std::filesystem::path& path) {
  LineFile file(path, ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (file.descriptor_ < 0) return failed(path, "open the file", errno);
  struct stat info {};
  if (::fstat(file.descriptor_, &info) != 0) return failed(path, "read the file's size", errno);
  file.size_ = info.st_size;
  CONCLAVE_RETURN_IF_ERROR(file.cut_incomplete_line());
  return file;
}

LineFile::LineFile(LineFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      cut_(other.cut_) {}

LineFile& LineFile::operator=(LineFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  std::swap(cut_, other.cut_);
  return *this;
}

LineFile::~LineFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status LineFile::cut_incomplete_line() {
  std::array<char, 4096> block;
  std::int64_t keep = size_; // bytes up to and with the last newline
  while (keep > 0) {
    const auto length = std::min<std::int64_t>(keep, static_cast<std::int64_t>(block.size()));
    const ssize_t got = ::pread(descriptor_, block.data(), static_cast<std::size_t>(length), keep - length);
    if (got != length) return failed(path_, "read the file", got < 0 ? errno : EIO);
    const auto newline = std::find(block.rend() - length, block.rend(), '\n');
    keep -= newline - (block.rend() - length);
    if (newline != block.rend()) break;
  }
  cut_ = size_ - keep;
  if (cut_ > 0 && ::ftruncate(descriptor_, keep) != 0) return failed(path_, "cut an incomplete line off", errno);
  size_ = keep;
  return {};
}

Status LineFile::append(std::string_view line) {
  std::size_t done = 0;
  while (done < line.size()) {
    const ssize_t written = ::write(descriptor_, line.data() + done, line.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int reason = errno;
      if (done > 0) (void)!::ftruncate(descriptor_, size_);
      return failed(path_, "write", reason);
    }
    done += static_cast<std::size_t>(written);
  }
  size_ += static_cast<std::int64_t>(line.size());
  return {};
}

Status LineFile::sync() {
  if (::fsync(descriptor_) != 0) return failed(path_, "sync", errno);
  return {};
}

} // namespace conclave::jsonl
