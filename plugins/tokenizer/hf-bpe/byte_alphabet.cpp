// The byte alphabet: see byte_alphabet.hpp.

#include "byte_alphabet.hpp"

#include <array>

#include "conclave/datakit/utf8.hpp"

namespace conclave::hf_bpe {
namespace {

constexpr bool is_visible(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr char32_t first_free = 0x100, end_of_alphabet = 0x144;

constexpr auto characters = [] {
  std::array<char16_t, 256> table{};
  char16_t next = first_free;
  for (unsigned byte = 0; byte < 256; ++byte) table[byte] = is_visible(byte) ? static_cast<char16_t>(byte) : next++;
  return table;
}();

constexpr auto bytes = [] {
  std::array<short, end_of_alphabet> table{};
  table.fill(-1);
  for (unsigned byte = 0; byte < 256; ++byte) table[characters[byte]] = static_cast<short>(byte);
  return table;
}();

} // namespace

char32_t byte_character(unsigned char byte) noexcept { return characters[byte]; }

std::string to_visible(std::string_view text) {
  std::string token;
  for (const char c : text) datakit::append_utf8(characters[static_cast<unsigned char>(c)], token);
  return token;
}

std::optional<std::string> from_visible(std::string_view token) {
  std::string text;
  for (std::size_t at = 0; at < token.size();) {
    const datakit::Utf8Step step = datakit::step_utf8(token, at);
    if (!step.valid || step.code >= end_of_alphabet || bytes[step.code] < 0) return std::nullopt;
    text.push_back(static_cast<char>(bytes[step.code]));
    at += step.length;
  }
  return text;
}

} // namespace conclave::hf_bpe
