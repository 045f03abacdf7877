// A page's charset: the part of HTML's rules (WHATWG, "determining the character encoding") that pages rely on.

#include <algorithm>

#include "conclave/datakit/charset.hpp"
#include "conclave/datakit/html.hpp"
#include "conclave/datakit/utf8.hpp"

namespace conclave::datakit::html {
namespace {

constexpr std::size_t prescan_bytes = 1024; // as browsers do

} // namespace

std::string declared_charset(std::string_view page) {
  std::string head = charset_label(page.substr(0, prescan_bytes));
  // Also inside content="text/html; charset=x". An attribute such as accept-charset belongs to a form, not to the page.
  for (std::size_t at = head.find("charset"); at != std::string::npos; at = head.find("charset", at)) {
    const bool whole = at == 0 || head[at - 1] != '-';
    at = head.find_first_not_of(" \t\r\n", at + std::string_view("charset").size());
    if (at == std::string::npos) break;
    if (!whole || head[at] != '=') continue;
    at = head.find_first_not_of(" \t\r\n\"'", at + 1);
    if (at == std::string::npos) break;
    return head.substr(at, head.find_first_of(" \t\r\n\"';/>", at) - at);
  }
  return {};
}

void to_utf8(std::string& page, std::string_view http_charset) {
  if (page.starts_with("\xEF\xBB\xBF")) {
    page.erase(0, 3);
    return;
  }
  std::string charset;
  if (page.starts_with("\xFF\xFE")) {
    charset = "utf-16le";
  } else if (page.starts_with("\xFE\xFF")) {
    charset = "utf-16be";
  } else if (!http_charset.empty()) {
    charset = charset_label(http_charset);
  } else {
    charset = declared_charset(page);
    if (charset.starts_with("utf-16")) return; // it could not have been read as ASCII
  }
  // Escape sequences and UTF-16 without marks are valid UTF-8 and mean something else.
  const bool looks_alike = charset.starts_with("utf-16") || charset.starts_with("iso-2022");
  if (charset.empty() || charset == "utf-8" || charset == "utf8" || (!looks_alike && is_valid_utf8(page))) return;
  if (auto text = charset_to_utf8(page, charset)) page = std::move(*text);
  if (page.starts_with("\xEF\xBB\xBF")) page.erase(0, 3);
}

} // namespace conclave::datakit::html
