// E-mail and IPv4 addresses: see addresses.hpp.

#include "addresses.hpp"

#include <algorithm>
#include <cstdint>

#include "conclave/datakit/utf8.hpp"

namespace conclave::pii {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alphanumeric(char c) { return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); }
/// What RFC 5322 calls atext.
bool is_atom(char c) {
  return is_alphanumeric(c) || std::string_view("!#$%&'*+/=?^_`{|}~-").find(c) != std::string_view::npos;
}

/// Whether a word of letters, digits and `_` begins or ends at `at`.
bool is_word_edge(std::string_view text, std::size_t at) {
  const auto in_word = [&](std::size_t position) {
    const char32_t code = datakit::step_utf8(text, position).code;
    return code == '_' || datakit::is_word_character(code);
  };
  const bool before = at > 0 && in_word(datakit::character_boundary(text, at - 1));
  return before != in_word(at);
}

/// The end of the number up to 255 at text[at]; `at` when there is none. As many digits as go.
std::size_t end_of_number(std::string_view text, std::size_t at) {
  const auto digit = [&](std::size_t i) { return i < text.size() && is_digit(text[i]); };
  if (!digit(at)) return at;
  if (digit(at + 1) && digit(at + 2)) {
    const unsigned value =
        static_cast<unsigned>((text[at] - '0') * 100 + (text[at + 1] - '0') * 10 + (text[at + 2] - '0'));
    if (value <= 255) return at + 3;
  }
  return digit(at + 1) ? at + 2 : at + 1;
}

/// The end of four numbers that begin at `at`; `at` when they do not.
std::size_t end_of_ipv4(std::string_view text, std::size_t at) {
  std::size_t end = at;
  for (int i = 0; i < 4; ++i) {
    const std::size_t begin = end;
    end = end_of_number(text, begin);
    if (end == begin) return at;
    if (i == 3) return end;
    if (end == text.size() || text[end++] != '.') return at;
  }
  return end;
}

/// The end of two or more labels with dots between; `at` when there are fewer.
std::size_t end_of_host(std::string_view text, std::size_t at) {
  std::size_t end = at;
  int labels = 0;
  for (std::size_t begin = at;;) {
    std::size_t next = begin;
    while (next < text.size() && (is_alphanumeric(text[next]) || text[next] == '-')) ++next;
    std::size_t last = next;
    while (last > begin && text[last - 1] == '-') --last;
    if (last == begin || text[begin] == '-') break;
    end = last;
    ++labels;
    if (last != next || next == text.size() || text[next] != '.') break;
    begin = next + 1;
  }
  return labels >= 2 ? end : at;
}

std::size_t end_of_domain(std::string_view text, std::size_t at) {
  if (at == text.size() || text[at] != '[') return end_of_host(text, at);
  const std::size_t end = end_of_ipv4(text, at + 1);
  return end > at + 1 && end < text.size() && text[end] == ']' ? end + 1 : at;
}

/// The beginning of what stands before the `@` at `at`, not before `from`; `at` when nothing does.
std::size_t begin_of_user(std::string_view text, std::size_t from, std::size_t at) {
  std::size_t begin = at;
  while (begin > from && (is_atom(text[begin - 1]) || (text[begin - 1] == '.' && begin < at && text[begin] != '.')))
    --begin;
  while (begin < at && (text[begin] == '.' || !is_word_edge(text, begin))) ++begin;
  return begin;
}

} // namespace

Span find_email(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find('@', from); at != std::string_view::npos; at = text.find('@', at + 1)) {
    const std::size_t end = end_of_domain(text, at + 1);
    if (end == at + 1) continue;
    const std::size_t begin = begin_of_user(text, from, at);
    if (begin < at) return {begin, end};
  }
  return {};
}

Span find_ipv4(std::string_view text, std::size_t from) {
  for (std::size_t dot = text.find('.', from); dot != std::string_view::npos; dot = text.find('.', dot + 1)) {
    if (dot + 1 == text.size() || !is_digit(text[dot + 1])) continue;
    std::size_t begin = dot;
    while (begin > from && dot - begin < 3 && is_digit(text[begin - 1])) --begin;
    for (; begin < dot; ++begin)
      if (const std::size_t end = end_of_ipv4(text, begin); end != begin) return {begin, end};
  }
  return {};
}

bool is_public_ipv4(std::string_view address) {
  std::uint32_t value = 0;
  for (std::size_t begin = 0; begin < address.size();) {
    const std::size_t end = std::min(address.find('.', begin), address.size());
    if (end - begin > 1 && address[begin] == '0') return false;
    std::uint32_t part = 0;
    for (std::size_t i = begin; i < end; ++i) part = part * 10 + static_cast<std::uint32_t>(address[i] - '0');
    value = value << 8 | part;
    begin = end + 1;
  }
  struct Network {
    std::uint32_t address;
    int bits;
  };
  static constexpr Network not_public[] = {
      {0x00000000, 8},  // this network
      {0x0A000000, 8},  // private
      {0x64400000, 10}, // shared by carriers
      {0x7F000000, 8},  // loopback
      {0xA9FE0000, 16}, // link-local
      {0xAC100000, 12}, // private
      {0xC0000000, 24}, // protocol assignments
      {0xC0000200, 24}, // documentation
      {0xC0A80000, 16}, // private
      {0xC6120000, 15}, // benchmarks
      {0xC6336400, 24}, // documentation
      {0xCB007100, 24}, // documentation
      {0xF0000000, 4},  // reserved, and broadcast
  };
  return std::ranges::none_of(
      not_public, [value](const Network& network) { return (value ^ network.address) >> (32 - network.bits) == 0; });
}

} // namespace conclave::pii
