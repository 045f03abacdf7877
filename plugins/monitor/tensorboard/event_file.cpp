// CRC-32C and record framing.

#include "event_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace conclave::tensorboard {
namespace {

constexpr std::uint32_t reversed_polynomial = 0x82f63b78u;

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ ((remainder & 1) ? reversed_polynomial : 0);
    table[byte] = remainder;
  }
  return table;
}
constexpr auto table = make_table();

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

Error failed(const std::filesystem::path& path, const char* what) {
  return storage_error(std::string("cannot ") + what + ": " + std::generic_category().message(errno),
                       "free space or make the folder writable", path.string());
}

} // namespace

std::uint32_t masked_crc32c(std::string_view data) noexcept {
  std::uint32_t crc = ~0u;
  for (const char c : data) crc = (crc >> 8) ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

std::string record(std::string_view payload) {
  const std::string length = little_endian(payload.size(), 8);
  std::string framed = length + little_endian(masked_crc32c(length), 4);
  framed += payload;
  return framed + little_endian(masked_crc32c(payload), 4);
}

Result<EventFile> EventFile::create(const std::filesystem::path& path) {
  EventFile file(path, ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644));
  if (file.descriptor_ < 0) return failed(path, "create the event file");
  return file;
}

EventFile::EventFile(EventFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

EventFile& EventFile::operator=(EventFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

EventFile::~EventFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Status EventFile::append(std::string_view payload) {
  const std::string framed = record(payload);
  std::string_view rest = framed;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed(path_, "write");
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Status EventFile::sync() {
  if (::fsync(descriptor_) != 0) return failed(path_, "sync");
  return {};
}

} // namespace conclave::tensorboard
