// Closing descriptors, and what to do about each errno.

#include "io/file_handle.hpp"

#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace conclave {
namespace {

std::string advice(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT: return "free space on that file system, or choose a folder on another one";
    case EFBIG: return "raise the limit on file sizes (ulimit -f)";
    case EROFS:
    case EACCES:
    case EPERM: return "give this user the right to it, or choose another folder";
    case EIO: return "check the disk (dmesg)";
    case ENOENT:
    case ENOTDIR:
    case ELOOP: return "check the path";
    case EMFILE:
    case ENFILE: return "raise the limit on open files (ulimit -n)";
    default: return {};
  }
}

} // namespace

Error file_error(const std::filesystem::path& path, std::string_view action, int error_number) {
  return storage_error("cannot " + std::string(action) + ": " + std::generic_category().message(error_number),
                       advice(error_number), path.string());
}

FileHandle& FileHandle::operator=(FileHandle&& other) noexcept {
  if (this != &other) {
    reset();
    descriptor_ = std::exchange(other.descriptor_, -1);
  }
  return *this;
}

void FileHandle::reset() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

} // namespace conclave
