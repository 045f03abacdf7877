// Text in other charsets to UTF-8.
//
// What this is: names as the web writes them (WHATWG's labels), decoded by ICU. What this is not: guessing a charset.
//
// Threading: pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace conclave::datakit {

/// A charset's name in lower case without spaces and quotes around it.
std::string charset_label(std::string_view name);

/// `bytes` in the charset of that label (as charset_label() gives it) as UTF-8; bytes that mean nothing there become
/// U+FFFD. As browsers do, a label stands for what pages mean by it: iso-8859-1 for windows-1252, gb2312 for gb18030.
/// nullopt: no charset of that name is known, or the text is above 1 GiB.
std::optional<std::string> charset_to_utf8(std::string_view bytes, const std::string& label);

} // namespace conclave::datakit
