// A page's text out of its tree: see conclave/datakit/html.hpp.

#include "conclave/datakit/html.hpp"

#include <gumbo.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace conclave::datakit::html {
namespace {

constexpr int deepest_allowed = 2000; // elements; real pages stay below 200

bool is_html_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; }

std::string_view attribute(const GumboElement& element, const char* name) {
  const GumboAttribute* found = gumbo_get_attribute(&element.attributes, name);
  return found ? std::string_view(found->value) : std::string_view{};
}
bool has_attribute(const GumboElement& element, const char* name) {
  return gumbo_get_attribute(&element.attributes, name) != nullptr;
}

bool is_dropped_tag(GumboTag tag) {
  switch (tag) {
    case GUMBO_TAG_HEAD:
    case GUMBO_TAG_SCRIPT:
    case GUMBO_TAG_STYLE:
    case GUMBO_TAG_NOSCRIPT:
    case GUMBO_TAG_TEMPLATE:
    case GUMBO_TAG_NAV:
    case GUMBO_TAG_FOOTER:
    case GUMBO_TAG_ASIDE:
    case GUMBO_TAG_FORM:
    case GUMBO_TAG_BUTTON:
    case GUMBO_TAG_SELECT:
    case GUMBO_TAG_TEXTAREA:
    case GUMBO_TAG_IFRAME:
    case GUMBO_TAG_OBJECT:
    case GUMBO_TAG_CANVAS:
    case GUMBO_TAG_AUDIO:
    case GUMBO_TAG_VIDEO:
    case GUMBO_TAG_SVG:
    case GUMBO_TAG_TITLE: return true;
    default: return false;
  }
}

bool is_dropped(const GumboElement& element, bool inside_article) {
  if (is_dropped_tag(element.tag)) return true;
  // A page's <header> is a banner; an article's holds its title.
  if (element.tag == GUMBO_TAG_HEADER && !inside_article) return true;
  if (has_attribute(element, "hidden")) return true;
  const std::string_view role = attribute(element, "role");
  if (role == "navigation" || role == "banner" || role == "contentinfo" || role == "search") return true;
  // The pilcrow links that documentation generators put behind headings.
  return element.tag == GUMBO_TAG_A && attribute(element, "class") == "headerlink";
}

enum class Gap { none, line, paragraph };

/// What stands around an element's text.
Gap gap_of(GumboTag tag) {
  switch (tag) {
    case GUMBO_TAG_P:
    case GUMBO_TAG_H1:
    case GUMBO_TAG_H2:
    case GUMBO_TAG_H3:
    case GUMBO_TAG_H4:
    case GUMBO_TAG_H5:
    case GUMBO_TAG_H6:
    case GUMBO_TAG_PRE:
    case GUMBO_TAG_BLOCKQUOTE:
    case GUMBO_TAG_UL:
    case GUMBO_TAG_OL:
    case GUMBO_TAG_DL:
    case GUMBO_TAG_TABLE:
    case GUMBO_TAG_SECTION:
    case GUMBO_TAG_ARTICLE:
    case GUMBO_TAG_HR:
    case GUMBO_TAG_FIGURE: return Gap::paragraph;
    case GUMBO_TAG_DIV:
    case GUMBO_TAG_LI:
    case GUMBO_TAG_DT:
    case GUMBO_TAG_DD:
    case GUMBO_TAG_TR:
    case GUMBO_TAG_CAPTION:
    case GUMBO_TAG_FIGCAPTION:
    case GUMBO_TAG_ADDRESS:
    case GUMBO_TAG_MAIN:
    case GUMBO_TAG_HEADER:
    case GUMBO_TAG_DETAILS:
    case GUMBO_TAG_SUMMARY:
    case GUMBO_TAG_CENTER:
    case GUMBO_TAG_THEAD:
    case GUMBO_TAG_TBODY:
    case GUMBO_TAG_TFOOT:
    case GUMBO_TAG_FIELDSET:
    case GUMBO_TAG_OPTION: return Gap::line;
    default: return Gap::none;
  }
}

/// Collects text and decides on the white space between its parts when the next part comes.
class Writer {
 public:
  explicit Writer(const ExtractRule& rule) : rule_(rule) {}

  void gap(Gap wanted) { gap_ = std::max(gap_, wanted); }
  void line_break() {
    if (gap_ == Gap::line && !current_.empty()) gap_ = Gap::paragraph; // <br><br> is how old pages end paragraphs
    gap(Gap::line);
  }
  void cell() { cell_ = true; }
  void item() { item_ = true; }

  void words(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
      if (is_html_space(text[i])) {
        space_ = true;
        ++i;
        continue;
      }
      std::size_t end = i;
      while (end < text.size() && !is_html_space(text[end])) ++end;
      separate();
      current_.append(text.substr(i, end - i));
      i = end;
    }
  }

  void preformatted(std::string_view text) {
    if (text.empty()) return;
    separate();
    current_.append(text);
  }

  void heading() {
    if (rule_.sections) close(false);
  }

  std::vector<std::string> finish() {
    close(true);
    return std::move(texts_);
  }

 private:
  void separate() {
    if (!current_.empty()) {
      if (gap_ == Gap::paragraph) {
        trim();
        current_ += "\n\n";
      } else if (gap_ == Gap::line) {
        trim();
        current_ += '\n';
      } else if (cell_) {
        current_ += '\t';
      } else if (space_) {
        current_ += ' ';
      }
    }
    if (item_) current_ += "- ";
    gap_ = Gap::none;
    space_ = cell_ = item_ = false;
  }
  void trim() {
    while (!current_.empty() && is_html_space(current_.back())) current_.pop_back();
  }
  /// Ends a text where it may end: a short one goes on, and a short last one joins the one before.
  void close(bool last) {
    trim();
    if (current_.empty()) return;
    if (current_.size() < rule_.min_text) {
      gap_ = Gap::paragraph;
      if (!last) return;
      if (!texts_.empty()) {
        texts_.back() += "\n\n" + current_;
        current_.clear();
      }
      return;
    }
    texts_.push_back(std::exchange(current_, {}));
    gap_ = Gap::none;
    space_ = cell_ = item_ = false;
  }

  ExtractRule rule_;
  std::vector<std::string> texts_;
  std::string current_;
  Gap gap_ = Gap::none;
  bool space_ = false, cell_ = false, item_ = false;
};

struct Place {
  bool article = false, pre = false;
};

// Recursion is safe: nesting_depth() bounded the tree.
void walk(const GumboNode* node, Place place, Writer& writer) {
  switch (node->type) {
    case GUMBO_NODE_TEXT:
    case GUMBO_NODE_CDATA:
    case GUMBO_NODE_WHITESPACE:
      place.pre ? writer.preformatted(node->v.text.text) : writer.words(node->v.text.text);
      return;
    case GUMBO_NODE_ELEMENT: break;
    default: return; // comments, templates
  }
  const GumboElement& element = node->v.element;
  if (is_dropped(element, place.article)) return;
  if (element.tag == GUMBO_TAG_BR) {
    place.pre ? writer.preformatted("\n") : writer.line_break();
    return;
  }
  const Gap gap = place.pre ? Gap::none : gap_of(element.tag);
  writer.gap(gap);
  if (element.tag == GUMBO_TAG_H1 || element.tag == GUMBO_TAG_H2) writer.heading();
  if (element.tag == GUMBO_TAG_LI) writer.item();
  if (element.tag == GUMBO_TAG_TD || element.tag == GUMBO_TAG_TH) writer.cell();
  place.pre |= element.tag == GUMBO_TAG_PRE;
  place.article |=
      element.tag == GUMBO_TAG_ARTICLE || element.tag == GUMBO_TAG_MAIN || element.tag == GUMBO_TAG_SECTION;
  const GumboVector& children = element.children;
  for (unsigned i = 0; i < children.length; ++i) walk(static_cast<const GumboNode*>(children.data[i]), place, writer);
  writer.gap(gap);
}

const GumboNode* find_main(const GumboNode* node) {
  if (node->type != GUMBO_NODE_ELEMENT) return nullptr;
  const GumboElement& element = node->v.element;
  if (element.tag == GUMBO_TAG_MAIN || attribute(element, "role") == "main") return node;
  for (unsigned i = 0; i < element.children.length; ++i)
    if (const GumboNode* found = find_main(static_cast<const GumboNode*>(element.children.data[i]))) return found;
  return nullptr;
}

std::vector<std::string> texts_below(const GumboNode* node, bool article, const ExtractRule& rule) {
  Writer writer(rule);
  walk(node, {.article = article, .pre = false}, writer);
  return writer.finish();
}

} // namespace

std::optional<std::vector<std::string>> extract(std::string_view page, const ExtractRule& rule) {
  if (nesting_depth(page) > deepest_allowed) return std::nullopt;
  GumboOptions options = kGumboDefaultOptions;
  options.max_errors = 0;
  const auto release = [&options](GumboOutput* output) { gumbo_destroy_output(&options, output); };
  const std::unique_ptr<GumboOutput, decltype(release)> output(
      gumbo_parse_with_options(&options, page.data(), page.size()), release);
  if (!output) return std::vector<std::string>{};
  if (const GumboNode* main = find_main(output->root)) {
    auto texts = texts_below(main, true, rule);
    if (!texts.empty()) return texts;
  }
  return texts_below(output->root, false, rule);
}

} // namespace conclave::datakit::html
