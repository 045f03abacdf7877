// Walks over the SDK's decoder.

#include "data/utf8.hpp"

#include <cstdint>
#include <cstring>

#include "conclave/datakit/utf8.hpp"

namespace conclave::data {

std::size_t valid_utf8_prefix(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight;
    if (at + sizeof eight <= text.size()) { // most text is ASCII: eight bytes at a time
      std::memcpy(&eight, text.data() + at, sizeof eight);
      if ((eight & 0x8080808080808080ull) == 0) {
        at += sizeof eight;
        continue;
      }
    }
    const datakit::Utf8Step step = datakit::step_utf8(text, at);
    if (!step.valid) return at;
    at += step.length;
  }
  return at;
}

std::string repair_utf8(std::string_view text) {
  std::string repaired;
  repaired.reserve(text.size() + 16);
  while (!text.empty()) {
    const std::size_t good = valid_utf8_prefix(text);
    repaired.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) break;
    repaired += "\xEF\xBF\xBD";
    text.remove_prefix(datakit::step_utf8(text, 0).length);
  }
  return repaired;
}

std::string_view utf8_prefix(std::string_view text, std::size_t bytes) noexcept {
  if (bytes >= text.size()) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

} // namespace conclave::data
