// E-mail and IPv4 addresses in a text: where they are.
//
// What this is: what datatrove's PIIFormatter takes for an address. What this is not: all that RFC 5322 allows, or IPv6.
//
// Threading: pure functions.
#pragma once

#include <cstddef>
#include <string_view>

namespace conclave::pii {

struct Span {
  std::size_t begin = 0, end = 0; ///< bytes; empty: none
  [[nodiscard]] bool empty() const noexcept { return begin == end; }
};

/// The first e-mail address that begins at or after `from`: `user.name@host.example` or `user@[192.0.2.1]`.
Span find_email(std::string_view text, std::size_t from);

/// The first four numbers up to 255 with dots between that begin at or after `from`, wherever they stand.
Span find_ipv4(std::string_view text, std::size_t from);

/// False for addresses of private, local, documentation and reserved networks (IANA's special-purpose registry), and for
/// numbers written with leading zeros, which are no addresses. Precondition: `address` is what find_ipv4() found.
bool is_public_ipv4(std::string_view address);

} // namespace conclave::pii
