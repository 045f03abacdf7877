// EventFile: records of TensorBoard's event file format (that of TFRecord).
//
//   u64 length, u32 masked CRC-32C of those 8 bytes, payload, u32 masked CRC-32C of the payload; all little-endian.
//
// What this is: framing. What this is not: the payloads; protobuf.hpp makes those.
//
// Threading: one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "conclave/status.hpp"

namespace conclave::tensorboard {

/// CRC-32C (Castagnoli), rotated right by 15 bits plus 0xa282ead8: a checksum of data that holds checksums.
std::uint32_t masked_crc32c(std::string_view data) noexcept;
/// A payload with length and checksums around it.
std::string record(std::string_view payload);

class EventFile {
 public:
  /// Makes a new file; an existing one is an error.
  static Result<EventFile> create(const std::filesystem::path& path);
  EventFile(EventFile&& other) noexcept;
  EventFile& operator=(EventFile&& other) noexcept;
  ~EventFile();

  /// One write(2) a record, so a reader that follows the file sees it at once.
  Status append(std::string_view payload);
  Status sync();

 private:
  EventFile(std::filesystem::path path, int descriptor) noexcept : path_(std::move(path)), descriptor_(descriptor) {}
  std::filesystem::path path_;
  int descriptor_ = -1;
};

} // namespace conclave::tensorboard
