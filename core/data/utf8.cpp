// One decoder for both checking and repair: the length of a sequence, or of the ill-formed part at its place.

#include "data/utf8.hpp"

#include <cstdint>
#include <cstring>

namespace conclave::data {
namespace {

struct Step {
  std::size_t length; ///< bytes to go on by, at least 1
  bool valid;
};

// The second byte's range depends on the first (table 3-7): E0 and F0 exclude overlong forms, ED surrogates, F4 what is
// above U+10FFFF. An ill-formed sequence ends before the first byte that cannot go on.
Step decode(const unsigned char* at, std::size_t left) noexcept {
  const unsigned char first = at[0];
  if (first < 0x80) return {1, true};
  std::size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {1, false};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= left || at[i] < low || at[i] > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true};
}

} // namespace

std::size_t valid_utf8_prefix(std::string_view text) noexcept {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t eight;
    if (at + sizeof eight <= text.size()) { // most text is ASCII: eight bytes at a time
      std::memcpy(&eight, bytes + at, sizeof eight);
      if ((eight & 0x8080808080808080ull) == 0) {
        at += sizeof eight;
        continue;
      }
    }
    const Step step = decode(bytes + at, text.size() - at);
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
    text.remove_prefix(decode(reinterpret_cast<const unsigned char*>(text.data()), text.size()).length);
  }
  return repaired;
}

std::string_view utf8_prefix(std::string_view text, std::size_t bytes) noexcept {
  if (bytes >= text.size()) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

} // namespace conclave::data
