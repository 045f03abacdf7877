// POSIX calls behind files.hpp.

#include "data/files.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace conclave::data {
namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 20;

} // namespace

Error file_error(std::string_view action, const std::filesystem::path& path, int error_number) {
  std::string fix = "check that the folder exists and that you may use it";
  if (error_number == ENOSPC || error_number == EDQUOT)
    fix = "free space there, or set data.cache to a larger disk; what is finished stays in the cache";
  else if (error_number == EROFS)
    fix = "set data.cache to a folder that can be written";
  return storage_error("cannot " + std::string(action) + ": " + std::generic_category().message(error_number),
                       std::move(fix), path.string());
}

FileDescriptor::~FileDescriptor() {
  if (descriptor_ >= 0) ::close(descriptor_);
}
FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}
int FileDescriptor::release() noexcept { return std::exchange(descriptor_, -1); }

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
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return file_error("open the file", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return file_error("read the file's size", path, errno);
  MappedFile mapped;
  if (status.st_size == 0) return mapped;
  void* data = ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return file_error("map the file", path, errno);
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = static_cast<std::size_t>(status.st_size);
  return mapped;
}

Result<FileWriter> FileWriter::create(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.get() < 0) return file_error("create the file", path, errno);
  return FileWriter(path, std::move(file));
}

Status FileWriter::write_through(const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(file_.get(), data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      return file_error("write", path_, errno);
    }
    data += written;
    size -= static_cast<std::size_t>(written);
  }
  return {};
}

Status FileWriter::flush() {
  CONCLAVE_RETURN_IF_ERROR(write_through(buffer_.data(), buffer_.size()));
  buffer_.clear();
  return {};
}

Status FileWriter::append(const void* data, std::size_t size) {
  if (size == 0) return {};
  digest_.bytes(data, size);
  size_ += size;
  const char* bytes = static_cast<const char*>(data);
  if (buffer_.size() + size > buffer_size) CONCLAVE_RETURN_IF_ERROR(flush());
  if (size >= buffer_size) return write_through(bytes, size);
  buffer_.insert(buffer_.end(), bytes, bytes + size);
  return {};
}

Result<FileEntry> FileWriter::finish() {
  CONCLAVE_RETURN_IF_ERROR(flush());
  if (::fsync(file_.get()) != 0) return file_error("write to disk", path_, errno);
  if (::close(file_.release()) != 0) return file_error("close the file", path_, errno);
  return FileEntry{path_.filename().string(), size_, digest_.hex()};
}

Result<std::string> read_file(const std::filesystem::path& path) {
  CONCLAVE_ASSIGN(const MappedFile file, MappedFile::open(path));
  return std::string(file.text());
}

Status write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  std::filesystem::path temporary = path;
  temporary += ".tmp";
  {
    CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(temporary));
    CONCLAVE_RETURN_IF_ERROR(writer.append(content.data(), content.size()));
    CONCLAVE_RETURN_IF_ERROR(writer.finish().status());
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return file_error("rename the file", temporary, errno);
  return sync_directory(path.parent_path());
}

Status sync_directory(const std::filesystem::path& path) {
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return file_error("open the folder", path, errno);
  // Some network file systems refuse to sync a folder (EINVAL); the rename is then as durable as they make it.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) return file_error("write the folder to disk", path, errno);
  return {};
}

Status make_directories(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return file_error("create the folder", path, error.value());
  return {};
}

Status link_or_copy(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::create_hard_link(from, to, error);
  if (!error) return {};
  error.clear();
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  if (error) return file_error("copy " + from.string(), to, error.value());
  const FileDescriptor copy(::open(to.c_str(), O_RDONLY | O_CLOEXEC));
  if (copy.get() < 0 || ::fsync(copy.get()) != 0) return file_error("write to disk", to, errno);
  return {};
}

} // namespace conclave::data
