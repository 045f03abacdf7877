// POSIX reads behind verified_files.hpp.

#include "checkpoint/verified_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "io/digest.hpp"

namespace conclave {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;
constexpr std::size_t name_limit = 1024;

} // namespace

bool is_safe_relative_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > name_limit) return false;
  std::size_t begin = 0;
  while (begin <= name.size()) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    for (const char c : part)
      if (c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
    begin = end + 1;
  }
  return true;
}

Result<DirectoryHandle> DirectoryHandle::open(const std::filesystem::path& path) {
  FileHandle handle(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!handle) return file_error(path, "open the checkpoint folder", errno);
  return DirectoryHandle(path, std::move(handle));
}

Result<FileHandle> DirectoryHandle::open_file(std::string_view name) const {
  if (!is_safe_relative_name(name))
    return storage_error(
        "the file name '" + std::string(name.substr(0, 100)) + "' leaves its folder or is not a plain name",
        "do not use this checkpoint", path_.string());
  // One component at a time: O_NOFOLLOW guards only the last one.
  FileHandle folder;
  int at = handle_.get();
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = name.find('/', begin);
    const bool last = end == std::string_view::npos;
    const std::string part(name.substr(begin, last ? end : end - begin));
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (last ? 0 : O_DIRECTORY);
    FileHandle next(::openat(at, part.c_str(), flags));
    if (!next) {
      if (errno == ELOOP || (!last && errno == ENOTDIR))
        return storage_error("is a symbolic link or not a folder", "replace it by the file itself",
                             (path_ / name.substr(0, last ? name.size() : end)).string());
      if (errno == ENOENT)
        return storage_error("the file is missing", "use another checkpoint", (path_ / name).string());
      return file_error(path_ / name, "open the file", errno);
    }
    if (last) {
      struct stat info {};
      if (::fstat(next.get(), &info) != 0) return file_error(path_ / name, "read the file's size", errno);
      if (!S_ISREG(info.st_mode))
        return storage_error("is not a regular file", "use another checkpoint", (path_ / name).string());
      return next;
    }
    folder = std::move(next);
    at = folder.get();
    begin = end + 1;
  }
}

Result<std::int64_t> file_size(const FileHandle& file, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return file_error(path, "read the file's size", errno);
  return static_cast<std::int64_t>(info.st_size);
}

Status read_exactly(const FileHandle& file, const std::filesystem::path& path, std::int64_t offset,
                    std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = ::pread(file.get(), out.data(), out.size(), offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      return file_error(path, "read", errno);
    }
    if (got == 0)
      return storage_error("the file is truncated: " + std::to_string(out.size()) + " bytes are missing at offset " +
                               std::to_string(offset),
                           "use another checkpoint", path.string());
    out = out.subspan(static_cast<std::size_t>(got));
    offset += got;
  }
  return {};
}

Status verify_file(const FileHandle& file, const std::filesystem::path& path, const FileDigest& expected,
                   std::string* keep) {
  CONCLAVE_ASSIGN(const std::int64_t size, file_size(file, path));
  if (size != expected.bytes)
    return storage_error(
        "the file has " + std::to_string(size) + " bytes, its manifest says " + std::to_string(expected.bytes),
        "use another checkpoint", path.string());
  if (keep) keep->clear();
  Digest digest;
  std::vector<std::byte> buffer(std::min(chunk_bytes, static_cast<std::size_t>(size)));
  for (std::int64_t offset = 0; offset < size;) {
    const auto piece = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::int64_t>(size - offset, static_cast<std::int64_t>(buffer.size()))));
    CONCLAVE_RETURN_IF_ERROR(read_exactly(file, path, offset, piece));
    digest.bytes(piece.data(), piece.size());
    if (keep) keep->append(reinterpret_cast<const char*>(piece.data()), piece.size());
    offset += static_cast<std::int64_t>(piece.size());
  }
  if (digest.hex() != expected.xxh3_128)
    return storage_error("the content is damaged: its checksum is not the manifest's", "use another checkpoint",
                         path.string());
  return {};
}

} // namespace conclave
