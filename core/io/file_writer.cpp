// POSIX calls behind file_writer.hpp.

#include "io/file_writer.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "io/folders.hpp"

namespace conclave {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;

} // namespace

Result<FileWriter> FileWriter::create(const std::filesystem::path& path, Existing existing) {
  const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (existing == Existing::refuse ? O_EXCL : O_TRUNC);
  FileHandle file(::open(path.c_str(), flags, 0666)); // the umask decides who else may read it
  if (!file) return file_error(path, "create the file", errno);
  return FileWriter(path, std::move(file));
}

Status FileWriter::write_through(std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t written = ::write(file_.get(), data.data(), data.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return file_error(path_, "write", errno);
    }
    data = data.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Status FileWriter::flush() {
  CONCLAVE_RETURN_IF_ERROR(write_through(gathered_));
  gathered_.clear();
  return {};
}

Status FileWriter::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    // In pieces, so that one is still in the processor's cache when it is copied or written after it was digested.
    const auto piece = data.first(std::min(data.size(), chunk_bytes));
    data = data.subspan(piece.size());
    digest_.bytes(piece.data(), piece.size());
    size_ += static_cast<std::int64_t>(piece.size());
    if (gathered_.size() + piece.size() > chunk_bytes) CONCLAVE_RETURN_IF_ERROR(flush());
    if (piece.size() == chunk_bytes) {
      CONCLAVE_RETURN_IF_ERROR(write_through(piece));
    } else {
      gathered_.insert(gathered_.end(), piece.begin(), piece.end());
    }
  }
  return {};
}

Result<FileDigest> FileWriter::finish(Pages pages, Sync sync) {
  CONCLAVE_RETURN_IF_ERROR(flush());
  if (sync == Sync::now && ::fsync(file_.get()) != 0) return file_error(path_, "write to disk", errno);
  if (pages == Pages::drop) (void)::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED); // advice only
  if (::close(file_.release()) != 0) return file_error(path_, "close the file", errno);
  return FileDigest{size_, digest_.hex()};
}

Result<FileDigest> write_file(const std::filesystem::path& path, std::string_view content, Pages pages, Sync sync) {
  CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(path));
  CONCLAVE_RETURN_IF_ERROR(writer.write(content));
  return writer.finish(pages, sync);
}

Status sync_file(const std::filesystem::path& path) {
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return file_error(path, "open the file", errno);
  if (::fsync(file.get()) != 0) return file_error(path, "write to disk", errno);
  return {};
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  const auto write = [&]() -> Status {
    CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(temporary, Existing::replace));
    CONCLAVE_RETURN_IF_ERROR(writer.write(content));
    CONCLAVE_RETURN_IF_ERROR(writer.finish().status());
    if (::rename(temporary.c_str(), path.c_str()) != 0) return file_error(path, "rename to this name", errno);
    return {};
  };
  if (Status written = write(); !written.ok()) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    return written;
  }
  return sync_directory(path.parent_path());
}

} // namespace conclave
