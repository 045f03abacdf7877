// A page of HTML that needs no other file: a template with its style and script, the plotting library, and data as JSON.
//
// What this is: how such a page is put together. What this is not: any page (compare/page, data/page), whose parts CMake's
// conclave_add_page() builds into the program.
//
// Threading: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace conclave::page {

/// A page's own files. The template has one mark each for what is put in: /*LIBRARY_STYLE*/, /*STYLE*/, /*DATA*/ (in a script
/// element of type application/json), /*LIBRARY*/ and /*SCRIPT*/.
struct Parts {
  std::string_view html, style, script;
};

/// False in a build without the plotting library; there is no page then.
bool has_library();

/// Text that is not UTF-8 in `data` is repaired.
std::string make(const Parts& parts, const nlohmann::ordered_json& data);

/// `text` with the first `mark` replaced; as it is where there is none.
std::string replaced(std::string text, std::string_view mark, std::string_view by);

} // namespace conclave::page
