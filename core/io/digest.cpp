// Digest over libxxhash. Numbers enter as little-endian bytes.

#include "io/digest.hpp"

#include <xxhash.h>

#include <array>
#include <bit>
#include <new>

namespace conclave {

void Digest::Free::operator()(XXH3_state_s* state) const noexcept { XXH3_freeState(state); }

Digest::Digest() : state_(XXH3_createState()) {
  if (!state_) throw std::bad_alloc();
  XXH3_128bits_reset(state_.get());
}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

Digest& Digest::bytes(const void* data, std::size_t size) {
  XXH3_128bits_update(state_.get(), data, size);
  return *this;
}

Digest& Digest::number(std::uint64_t value) {
  std::array<unsigned char, 8> little;
  for (std::size_t i = 0; i < 8; ++i) little[i] = static_cast<unsigned char>(value >> (8 * i));
  return bytes(little.data(), little.size());
}

Digest& Digest::number(double value) { return number(std::bit_cast<std::uint64_t>(value)); }

Digest& Digest::text(std::string_view value) {
  number(static_cast<std::uint64_t>(value.size()));
  return bytes(value.data(), value.size());
}

std::string Digest::hex() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * sizeof canonical.digest);
  for (const unsigned char byte : canonical.digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::uint64_t hash_text(std::string_view text) noexcept { return XXH3_64bits(text.data(), text.size()); }

} // namespace conclave
