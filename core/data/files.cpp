// POSIX calls behind files.hpp.

#include "data/files.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace conclave::data {

Result<FileEntry> finish_entry(FileWriter& writer, Sync sync) {
  CONCLAVE_ASSIGN(FileDigest digest, writer.finish(Pages::keep, sync));
  return FileEntry{writer.path().filename().string(), static_cast<std::uint64_t>(digest.bytes),
                   std::move(digest.xxh3_128)};
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}
MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return file_error(path, "open the file", errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return file_error(path, "read the file's size", errno);
  MappedFile mapped;
  if (status.st_size == 0) return mapped;
  void* data = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return file_error(path, "map the file", errno);
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = static_cast<std::size_t>(status.st_size);
  return mapped;
}

Result<std::string> read_file(const std::filesystem::path& path) {
  CONCLAVE_ASSIGN(const MappedFile file, MappedFile::open(path));
  return std::string(file.text());
}

Status link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::create_hard_link(from, to, error);
  if (!error) return {};
  error.clear();
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  if (error) return file_error(to, "copy " + from.string(), error.value());
  return sync_file(to);
}

} // namespace conclave::data
