// POSIX file access with named errors.

#include "checkpoint/file_io.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <vector>

namespace conclave {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;
constexpr std::size_t name_limit = 1024;

std::string advice(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT: return "free space on that file system, or keep fewer checkpoints";
    case EFBIG: return "raise the limit on file sizes (ulimit -f)";
    case EROFS:
    case EACCES:
    case EPERM: return "make the folder writable, or choose another run directory";
    case EIO: return "check the disk (dmesg)";
    case ENOENT: return "check the path";
    case EMFILE:
    case ENFILE: return "raise the limit on open files (ulimit -n)";
    default: return {};
  }
}

std::string hex(const XXH128_canonical_t& canonical) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * sizeof(canonical.digest));
  for (const unsigned char byte : canonical.digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
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

// ---- Digester ----

struct Digester::State {
  struct Free {
    void operator()(XXH3_state_t* state) const noexcept { XXH3_freeState(state); }
  };
  // The library's state wants an alignment of 64, so the library allocates it.
  std::unique_ptr<XXH3_state_t, Free> xxh{XXH3_createState()};
};

Digester::Digester() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh.get()); }
Digester::~Digester() = default;
Digester::Digester(Digester&&) noexcept = default;
Digester& Digester::operator=(Digester&&) noexcept = default;

void Digester::update(std::span<const std::byte> data) {
  if (data.empty()) return;
  XXH3_128bits_update(state_->xxh.get(), data.data(), data.size());
  bytes_ += static_cast<std::int64_t>(data.size());
}

FileDigest Digester::digest() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->xxh.get()));
  return {bytes_, hex(canonical)};
}

// ---- writing ----

Result<FileWriter> FileWriter::create(const std::filesystem::path& path) {
  FileHandle file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file) return file_error(path, "create the file", errno);
  return FileWriter(path, std::move(file));
}

Status FileWriter::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    // Hash and write in pieces, so that a piece is still in the processor's cache for the second use.
    const std::size_t piece = std::min(data.size(), chunk_bytes);
    const ssize_t written = ::write(file_.get(), data.data(), piece);
    if (written < 0) {
      if (errno == EINTR) continue;
      return file_error(path_, "write", errno);
    }
    digester_.update(data.first(static_cast<std::size_t>(written)));
    data = data.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<FileDigest> FileWriter::finish() {
  if (::fsync(file_.get()) != 0) return file_error(path_, "sync", errno);
  // Advice only: without it a verifying read would be served from the pages just written.
  (void)::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
  if (::close(file_.release()) != 0) return file_error(path_, "close", errno);
  return digester_.digest();
}

Result<FileDigest> write_file(const std::filesystem::path& path, std::string_view content) {
  CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(path));
  CONCLAVE_RETURN_IF_ERROR(writer.write(content));
  return writer.finish();
}

Status sync_directory(const std::filesystem::path& path) {
  const FileHandle folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return file_error(path, "open the folder", errno);
  // Some network file systems cannot sync a folder and say EINVAL; their renames are synchronous.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) return file_error(path, "sync the folder", errno);
  return {};
}

// ---- reading ----

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
  Digester digester;
  std::vector<std::byte> buffer(std::min(chunk_bytes, static_cast<std::size_t>(size)));
  for (std::int64_t offset = 0; offset < size;) {
    const auto piece = std::span(buffer).first(
        static_cast<std::size_t>(std::min<std::int64_t>(size - offset, static_cast<std::int64_t>(buffer.size()))));
    CONCLAVE_RETURN_IF_ERROR(read_exactly(file, path, offset, piece));
    digester.update(piece);
    if (keep) keep->append(reinterpret_cast<const char*>(piece.data()), piece.size());
    offset += static_cast<std::int64_t>(piece.size());
  }
  if (digester.digest().xxh3_128 != expected.xxh3_128)
    return storage_error("the content is damaged: its checksum is not the manifest's", "use another checkpoint",
                         path.string());
  return {};
}

} // namespace conclave
