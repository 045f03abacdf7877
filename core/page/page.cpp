// Marks and what replaces them.

#include "page/page.hpp"

#include <nlohmann/json.hpp>

#include "page/library.hpp"

namespace conclave::page {
namespace {

/// JSON inside of a script element: nothing in it may end the element.
std::string embeddable(const nlohmann::ordered_json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string out;
  for (const char c : text) out += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return out;
}

} // namespace

bool has_library() { return !library().script.empty(); }

std::string replaced(std::string text, std::string_view mark, std::string_view by) {
  const std::size_t at = text.find(mark);
  return at == std::string::npos ? text : text.replace(at, mark.size(), by);
}

std::string make(const Parts& parts, const nlohmann::ordered_json& data) {
  const Library shared = library();
  std::string page(parts.html);
  page = replaced(std::move(page), "/*LIBRARY_STYLE*/", shared.style);
  page = replaced(std::move(page), "/*STYLE*/", std::string(shared.base_style) + std::string(parts.style));
  page = replaced(std::move(page), "/*LIBRARY*/", shared.script);
  page = replaced(std::move(page), "/*SCRIPT*/", parts.script);
  return replaced(std::move(page), "/*DATA*/", embeddable(data));
}

} // namespace conclave::page
