// Digest: content addresses of files, stages and plans (XXH3, 128 bits, seed 0).
//
// What this is: the host's one checksum. Equal bytes give equal digests on every machine. What this is not:
// cryptography; a digest guards against damage and mix-ups, not against an opponent.
//
// Threading: a value type; use one instance from one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace conclave {

class Digest {
 public:
  Digest();
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  /// Raw bytes, without their length.
  Digest& bytes(const void* data, std::size_t size);
  /// Text with its length, so that ("ab", "c") and ("a", "bc") differ.
  Digest& text(std::string_view value);
  Digest& number(std::uint64_t value);
  Digest& number(double value);
  Digest& number(std::int64_t value) { return number(static_cast<std::uint64_t>(value)); }
  Digest& number(int value) { return number(static_cast<std::uint64_t>(static_cast<std::int64_t>(value))); }

  /// 32 lower-case hexadecimal digits of everything so far, big-endian.
  [[nodiscard]] std::string hex() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const noexcept;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

/// 64 bits of a document's text: what the held-out split and the tokenizer's sample are decided by.
std::uint64_t hash_text(std::string_view text) noexcept;

} // namespace conclave
