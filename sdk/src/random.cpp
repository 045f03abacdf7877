// Philox4x32-10 and the distributions over it.

#include "conclave/random.hpp"

#include <cmath>
#include <numbers>

namespace conclave {
namespace {

// Constants of the generator (Salmon et al. 2011, table 2 and section 3.2).
constexpr std::uint32_t multiplier_a = 0xD2511F53u, multiplier_b = 0xCD9E8D57u;
constexpr std::uint32_t weyl_a = 0x9E3779B9u, weyl_b = 0xBB67AE85u;

// FNV-1a over the seed's bytes and the name, then the SplitMix64 finaliser so that every bit depends on every byte.
std::uint64_t hash_name(std::uint64_t seed, std::string_view name, std::uint64_t salt) {
  std::uint64_t h = 0xcbf29ce484222325ull ^ salt;
  auto mix = [&h](unsigned char byte) { h = (h ^ byte) * 0x100000001b3ull; };
  for (int i = 0; i < 8; ++i) mix(static_cast<unsigned char>(seed >> (8 * i)));
  for (char c : name) mix(static_cast<unsigned char>(c));
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  return h ^ (h >> 31);
}

double to_unit(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32) | low;
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

} // namespace

RandomStream::RandomStream(std::uint64_t seed, std::string_view name) noexcept {
  const std::uint64_t key = hash_name(seed, name, 0);
  const std::uint64_t stream = hash_name(seed, name, 0x5bf03635dcd1f0a5ull);
  key_ = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
  stream_ = {static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)};
}

std::array<std::uint32_t, 4> RandomStream::block(std::uint64_t n) const noexcept {
  std::uint32_t c0 = static_cast<std::uint32_t>(n), c1 = static_cast<std::uint32_t>(n >> 32);
  std::uint32_t c2 = stream_[0], c3 = stream_[1];
  std::uint32_t k0 = key_[0], k1 = key_[1];
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = static_cast<std::uint64_t>(multiplier_a) * c0;
    const std::uint64_t b = static_cast<std::uint64_t>(multiplier_b) * c2;
    c0 = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ k0;
    c2 = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(b);
    c3 = static_cast<std::uint32_t>(a);
    k0 += weyl_a;
    k1 += weyl_b;
  }
  return {c0, c1, c2, c3};
}

std::uint64_t RandomStream::bits(std::uint64_t n) const noexcept {
  const auto words = block(n);
  return (static_cast<std::uint64_t>(words[0]) << 32) | words[1];
}

double RandomStream::uniform(std::uint64_t n) const noexcept {
  const auto words = block(n);
  return to_unit(words[0], words[1]);
}

double RandomStream::normal(std::uint64_t n) const noexcept {
  const auto words = block(n / 2);
  const double u = 1.0 - to_unit(words[0], words[1]); // (0, 1]: the logarithm stays finite
  const double angle = 2.0 * std::numbers::pi * to_unit(words[2], words[3]);
  const double radius = std::sqrt(-2.0 * std::log(u));
  return radius * (n % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

std::uint64_t RandomStream::below(std::uint64_t n, std::uint64_t bound) const noexcept {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(n)) * bound) >> 64);
}

} // namespace conclave
