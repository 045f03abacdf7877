// Charsets: see conclave/datakit/charset.hpp.

#include "conclave/datakit/charset.hpp"

#include <unicode/ucnv.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <utility>

#include "conclave/datakit/utf8.hpp"

namespace conclave::datakit {
namespace {

/// Labels for which ICU would take the charset's letter and browsers take what pages mean. Sorted.
constexpr std::array<std::pair<std::string_view, const char*>, 25> web_labels = {{
    {"ascii", "windows-1252"},      {"big5", "big5-hkscs"},
    {"chinese", "gb18030"},         {"csgb2312", "gb18030"},
    {"euc-kr", "windows-949"},      {"gb2312", "gb18030"},
    {"gb_2312-80", "gb18030"},      {"gbk", "gb18030"},
    {"iso-8859-1", "windows-1252"}, {"iso-8859-11", "windows-874"},
    {"iso-8859-8-i", "iso-8859-8"}, {"iso-8859-9", "windows-1254"},
    {"korean", "windows-949"},      {"ks_c_5601-1987", "windows-949"},
    {"latin1", "windows-1252"},     {"latin5", "windows-1254"},
    {"ms_kanji", "windows-31j"},    {"shift-jis", "windows-31j"},
    {"shift_jis", "windows-31j"},   {"sjis", "windows-31j"},
    {"tis-620", "windows-874"},     {"us-ascii", "windows-1252"},
    {"x-gbk", "gb18030"},           {"x-sjis", "windows-31j"},
    {"x-x-big5", "big5-hkscs"},
}};

constexpr std::size_t longest_text = std::size_t{1} << 30; // ICU counts in 31 bits

} // namespace

std::string charset_label(std::string_view name) {
  constexpr std::string_view around = " \t\r\n\"'";
  const std::size_t begin = name.find_first_not_of(around);
  if (begin == std::string_view::npos) return {};
  std::string label(name.substr(begin, name.find_last_not_of(around) + 1 - begin));
  std::ranges::transform(label, label.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return label;
}

std::optional<std::string> charset_to_utf8(std::string_view bytes, const std::string& label) {
  const auto meant =
      std::ranges::lower_bound(web_labels, std::string_view(label), {}, [](const auto& e) { return e.first; });
  const char* name = meant != web_labels.end() && meant->first == label ? meant->second : label.c_str();
  if (name == std::string_view("windows-1252")) return windows_1252_to_utf8(bytes);
  if (bytes.size() > longest_text || label.empty()) return std::nullopt; // ICU takes the machine's charset for ""
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<UConverter, void (*)(UConverter*)> converter(ucnv_open(name, &error), ucnv_close);
  if (U_FAILURE(error)) return std::nullopt;
  const icu::UnicodeString text(bytes.data(), static_cast<std::int32_t>(bytes.size()), converter.get(), error);
  if (U_FAILURE(error) || text.isBogus()) return std::nullopt;
  std::string out;
  return text.toUTF8String(out);
}

} // namespace conclave::datakit
