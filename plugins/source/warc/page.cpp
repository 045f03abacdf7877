// Records to text: see page.hpp.

#include "page.hpp"

#include <utility>

#include "conclave/datakit/html.hpp"
#include "http.hpp"

namespace conclave::warc {
namespace {

bool is_html(const std::string& type) { return type == "text/html" || type == "application/xhtml+xml"; }

} // namespace

PageKind page_text(const Record& record, const PageRule& rule, std::string& text) {
  if (record.type == "conversion") {
    text = record.body;
    return PageKind::text;
  }
  HttpResponse response;
  if (record.type == "response") {
    response = parse_http(record.body);
    if (response.status != 200) return PageKind::not_text;
  } else {
    response.type = parse_media_type(record.content_type);
    response.body = record.body;
  }
  if (response.type.name.empty()) response.type.name = parse_media_type(record.payload_type).name;
  const bool html = is_html(response.type.name);
  if (!html && response.type.name != "text/plain") return PageKind::not_text;
  if (!decode_body(response, rule.max_document, text)) return PageKind::unusable;
  datakit::html::to_utf8(text, response.type.charset);
  if (text.find('\0') != std::string::npos) return PageKind::unusable;
  if (!html) return text.empty() ? PageKind::unusable : PageKind::text;
  auto texts = datakit::html::extract(text, {.sections = false, .min_text = rule.min_text});
  if (!texts || texts->empty()) return PageKind::unusable;
  text = std::move(texts->front());
  return PageKind::text;
}

} // namespace conclave::warc
