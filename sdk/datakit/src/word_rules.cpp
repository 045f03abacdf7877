// The rules behind WordCutter: see word_rules.hpp. The conventions are those of spaCy's English tokenizer.

#include "word_rules.hpp"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <vector>

#include "conclave/datakit/utf8.hpp"

namespace conclave::datakit::rules {
namespace {

// ---- code points ----

bool is_digit(char32_t c) noexcept { return c >= '0' && c <= '9'; }
bool is_alpha(char32_t c) noexcept {
  return c < 0x80 ? (classes[c] & letter) != 0 : u_isalpha(static_cast<UChar32>(c)) != 0;
}
/// Letters without case count as either.
bool is_lower(char32_t c) noexcept {
  if (c < 0x80) return classes[c] == lower;
  return is_alpha(c) && u_charType(static_cast<UChar32>(c)) != U_UPPERCASE_LETTER;
}
bool is_upper(char32_t c) noexcept {
  if (c < 0x80) return classes[c] == upper;
  return is_alpha(c) && u_charType(static_cast<UChar32>(c)) != U_LOWERCASE_LETTER;
}
bool is_icon(char32_t c) noexcept { return c >= 0x80 && u_charType(static_cast<UChar32>(c)) == U_OTHER_SYMBOL; }
bool is_currency(char32_t c) noexcept {
  return c == '$' || (c >= 0x80 && u_charType(static_cast<UChar32>(c)) == U_CURRENCY_SYMBOL);
}

bool contains(std::u32string_view set, char32_t c) noexcept { return set.find(c) != std::u32string_view::npos; }

bool is_quote(char32_t c) noexcept {
  return c < 0x80 ? classes[c] == quote : contains(U"”“‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧", c);
}
/// What stands apart at either end of a chunk.
bool is_mark(char32_t c) noexcept { return c < 0x80 ? classes[c] == mark : contains(U"…¿؟¡。？！，、；：～·।،۔؛٪", c); }

char32_t first_of(std::string_view text) noexcept { return step_utf8(text, 0).code; }
std::size_t last_begin(std::string_view text) noexcept { return character_boundary(text, text.size() - 1); }
/// 0 for an empty text.
char32_t last_of(std::string_view text) noexcept { return text.empty() ? 0 : step_utf8(text, last_begin(text)).code; }

std::size_t dots_at_end(std::string_view text) noexcept {
  const std::size_t last = text.find_last_not_of('.');
  return last == std::string_view::npos ? text.size() : text.size() - last - 1;
}

// ---- special words ----

class Specials {
 public:
  Specials() {
    contractions();
    for (int hour = 1; hour <= 12; ++hour)
      for (const char* half : {"am", "pm", "a.m.", "p.m."}) add({std::to_string(hour), half});
    whole_words();
    // What the rules above make of them is another word.
    for (const char* word : {"ill", "its", "hell", "shell", "shed", "were", "well", "whore"}) {
      words_.erase(word);
      words_.erase(capital(word));
    }
    for (const auto& [word, special] : words_) {
      Filter& filter = filters_[static_cast<unsigned char>(word.front())];
      filter.lengths |= std::uint64_t{1} << word.size();
      filter.ends |= bit(word.back());
    }
  }

  [[nodiscard]] const Special* find(std::string_view word) const noexcept {
    // Nearly all words end here: few share a special one's length and its first and last letter.
    if (word.empty() || word.size() >= 64) return nullptr;
    const Filter& filter = filters_[static_cast<unsigned char>(word.front())];
    if ((filter.lengths >> word.size() & 1) == 0 || (filter.ends & bit(word.back())) == 0) return nullptr;
    const auto found = words_.find(word);
    return found == words_.end() ? nullptr : &found->second;
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const noexcept { return std::hash<std::string_view>()(word); }
  };

  static std::uint64_t bit(char c) noexcept { return std::uint64_t{1} << (static_cast<unsigned char>(c) & 63); }
  static std::string capital(std::string word) {
    if (classes[static_cast<unsigned char>(word[0])] == lower) word[0] = static_cast<char>(word[0] - 32);
    return word;
  }

  void add_as_is(const std::vector<std::string>& pieces) {
    std::string word;
    Special special;
    for (const std::string& piece : pieces) {
      special.lengths[special.pieces++] = static_cast<std::uint8_t>(piece.size());
      word += piece;
    }
    words_.insert_or_assign(word, special);
  }
  /// Also with a typographic apostrophe.
  void add(std::vector<std::string> pieces) {
    add_as_is(pieces);
    for (std::string& piece : pieces)
      for (std::size_t at = piece.find('\''); at != std::string::npos; at = piece.find('\'', at))
        piece.replace(at, 1, "’");
    add_as_is(pieces);
  }
  /// head + tail, with a capital, too. Without apostrophes as well: `dont`.
  void contract(std::initializer_list<const char*> heads, const std::vector<std::vector<std::string>>& tails) {
    for (const std::string head : heads)
      for (const std::vector<std::string>& tail : tails)
        for (const bool apostrophe : {true, false})
          for (const std::string& written : {head, capital(head)}) {
            std::vector<std::string> pieces = {written};
            for (std::string piece : tail) {
              if (!apostrophe) std::erase(piece, '\'');
              pieces.push_back(piece);
            }
            add(pieces);
          }
  }

  void contractions() {
    const std::vector<std::vector<std::string>> will_would = {{"'ll"}, {"'ll", "'ve"}, {"'d"}, {"'d", "'ve"}};
    contract({"i"}, {{"'m"}, {"'m", "a"}, {"'ve"}});
    contract({"i", "you", "he", "she", "it", "we", "they"}, will_would);
    contract({"you", "we", "they"}, {{"'ve"}, {"'re"}});
    contract({"he", "she", "it", "who", "what", "when", "where", "why", "how", "there", "that", "this"}, {{"'s"}});
    contract({"who", "what", "when", "where", "why", "how", "there", "that", "this", "these", "those"}, will_would);
    contract({"who", "what", "when", "where", "why", "how", "there", "these", "those"}, {{"'re"}, {"'ve"}});
    contract({"ca", "could", "do", "does", "did", "had", "may", "might", "must", "need", "ought", "sha", "should", "wo",
              "would"},
             {{"n't"}, {"n't", "'ve"}});
    contract({"could", "might", "must", "should", "would"}, {{"'ve"}});
    contract({"ai", "are", "is", "was", "were", "have", "has", "dare"}, {{"n't"}});
    contract({"not"}, {{"'ve"}});
    contract({"can"}, {{"not"}});
    contract({"gon"}, {{"na"}});
    contract({"got"}, {{"ta"}});
    for (const char* word : {"let", "Let"}) add({word, "'s"});
    for (const char* word : {"c'm", "C'm"}) add({word, "on"});
    for (const char* word : {"how", "How"}) add({word, "'d", "'y"});
    add({"y'", "all"});
    add({"y", "all"});
  }

  void whole_words() {
    for (const char* word :
         {"'S",      "'s",    "‘S",      "‘s",      "'re",     "'d",      "'ll",    "'em",    "'nuff",     "'Cause",
          "'cause",  "'cos",  "'Cos",    "'coz",    "'Coz",    "'cuz",    "'Cuz",   "'bout",  "and/or",    "w/o",
          "ma'am",   "Ma'am", "o'clock", "O'clock", "lovin'",  "Lovin'",  "havin'", "Havin'", "doin'",     "Doin'",
          "goin'",   "Goin'", "nothin'", "Nothin'", "nuthin'", "Nuthin'", "ol'",    "Ol'",    "somethin'", "Somethin'",
          "'",       "''",    "\\\")",   "\\t",     "\\n",     "<space>", "C++",    "Mt.",    "Ak.",       "Ala.",
          "Apr.",    "Ariz.", "Ark.",    "Aug.",    "Calif.",  "Colo.",   "Conn.",  "Dec.",   "Del.",      "Feb.",
          "Fla.",    "Ga.",   "Ia.",     "Id.",     "Ill.",    "Ind.",    "Jan.",   "Jul.",   "Jun.",      "Kan.",
          "Kans.",   "Ky.",   "La.",     "Mar.",    "Mass.",   "Mich.",   "Minn.",  "Miss.",  "N.C.",      "N.D.",
          "N.H.",    "N.J.",  "N.M.",    "N.Y.",    "Neb.",    "Nebr.",   "Nev.",   "Nov.",   "Oct.",      "Okla.",
          "Ore.",    "Pa.",   "S.C.",    "Sep.",    "Sept.",   "Tenn.",   "Va.",    "Wash.",  "Wis.",      "a.m.",
          "p.m.",    "Adm.",  "Bros.",   "co.",     "Co.",     "Corp.",   "D.C.",   "Dr.",    "e.g.",      "E.g.",
          "E.G.",    "Gen.",  "Gov.",    "i.e.",    "I.e.",    "I.E.",    "Inc.",   "Jr.",    "Ltd.",      "Md.",
          "Messrs.", "Mo.",   "Mont.",   "Mr.",     "Mrs.",    "Ms.",     "Ph.D.",  "Prof.",  "Rep.",      "Rev.",
          "Sen.",    "St.",   "vs.",     "v.s.",    "ä.",      "ö.",      "ü."})
      add({word});
    for (char c = 'a'; c <= 'z'; ++c) add({std::string(1, c) + "."});
    for (const char* degree : {"c", "f", "k", "C", "F", "K"}) add({"°", degree, "."});
    for (const char* face : {":)",   ":-)", ":))",  ":-))", ":)))", ":-)))", "(:",   "(-:", "=)",  "(=",  ":]",  ":-]",
                             "[:",   "[-:", "[=",   ":o)",  "(o:",  ":}",    ":-}",  "8)",  "8-)", "(-8", ";)",  ";-)",
                             "(;",   "(-;", ":(",   ":-(",  ":((",  ":-((",  ":(((", "):",  ")-:", "=(",  ">:(", ":')",
                             ":'-)", ":'(", ":'-(", ":/",   ":-/",  "=/",    "=|",   ":|",  ":-|", "]=",  "=[",  ":1",
                             ":P",   ":-P", ":p",   ":-p",  ":O",   ":-O",   ":o",   ":-o", ":0",  ":-0", ":()", ">:o",
                             ":*",   ":-*", ":3",   ":-3",  "=3",   ":>",    ":->",  ":X",  ":-X", ":x",  ":-x", ":D",
                             ":-D",  ";D",  ";-D",  "=D",   "xD",   "XD",    "xDD",  "XDD", "8D",  "8-D", "^_^", "^__^",
                             ">.<",  ">.>", "<.<",  "._.",  ";_;",  "-_-",   "-__-", "v.v", "V.V", "v_v", "V_V", "o_o",
                             "o_O",  "O_o", "O_O",  "0_o",  "o_0",  "0_0",   "o.O",  "O.o", "O.O", "o.o", "0.0", "o.0",
                             "0.o",  "@_@", "<3",   "<33",  "</3",  "<333"})
      add_as_is({face});
  }

  std::unordered_map<std::string, Special, Hash, std::equal_to<>> words_;
  struct Filter {
    std::uint64_t lengths = 0, ends = 0; ///< of the special words with that first byte
  };
  std::array<Filter, 256> filters_{};
};

// ---- units ----

constexpr std::string_view units[] = {"km", "km²", "km³", "m",  "m²",  "m³",   "dm",  "dm²", "dm³", "cm", "cm²",  "cm³",
                                      "mm", "mm²", "mm³", "ha", "µm",  "nm",   "yd",  "in",  "ft",  "kg", "g",    "mg",
                                      "µg", "t",   "lb",  "oz", "m/s", "km/h", "kmh", "mph", "hPa", "Pa", "mbar", "mb",
                                      "MB", "kb",  "KB",  "gb", "GB",  "tb",   "TB",  "T",   "G",   "M",  "K",    "%"};
constexpr std::size_t longest_unit = 4; // bytes

// ---- host names ----

bool is_host_character(char32_t c) noexcept {
  return c < 0x80 ? (classes[c] & alphanumeric) != 0 : c >= 0xA1 && c <= 0xFFFF;
}

bool is_label(std::string_view label) noexcept {
  if (label.empty() || label.size() > 64) return false;
  return is_host_character(first_of(label)) && is_host_character(last_of(label));
}

/// Labels with dots and a last one of lower-case letters.
bool is_host(std::string_view host) noexcept {
  const std::size_t dot = host.rfind('.');
  if (dot == std::string_view::npos || host.size() - dot <= 2) return false;
  for (std::size_t at = dot + 1; at < host.size();)
    if (!is_lower(decode(host, at))) return false;
  for (std::size_t begin = 0; begin <= dot;) {
    const std::size_t end = host.find('.', begin);
    if (!is_label(host.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

/// Four numbers; not of a private network.
bool is_public_address(std::string_view host) noexcept {
  unsigned parts[4] = {};
  std::size_t at = 0;
  for (int i = 0; i < 4; ++i) {
    const std::size_t begin = at;
    while (at < host.size() && is_digit(static_cast<unsigned char>(host[at])) && at - begin < 3)
      parts[i] = parts[i] * 10 + static_cast<unsigned>(host[at++] - '0');
    if (at == begin || parts[i] > 255 || (i < 3 && (at == host.size() || host[at++] != '.'))) return false;
  }
  if (at != host.size() || parts[0] == 0 || parts[0] > 223 || parts[3] == 0 || parts[3] == 255) return false;
  return parts[0] != 10 && parts[0] != 127 && !(parts[0] == 169 && parts[1] == 254) &&
         !(parts[0] == 192 && parts[1] == 168) && !(parts[0] == 172 && parts[1] >= 16 && parts[1] <= 31);
}

/// A host, then a port and a path, either of them or none.
bool is_host_and_path(std::string_view text) noexcept {
  std::size_t end = 0;
  while (end < text.size()) {
    const Utf8Step step = step_utf8(text, end);
    if (!is_host_character(step.code) && step.code != '.' && step.code != '-' && step.code != '_') break;
    end += step.length;
  }
  const std::string_view host = text.substr(0, end);
  if (!is_host(host) && !is_public_address(host)) return false;
  if (end < text.size() && text[end] == ':') {
    const std::size_t begin = ++end;
    while (end < text.size() && is_digit(static_cast<unsigned char>(text[end]))) ++end;
    if (end - begin < 2 || end - begin > 5) return false;
  }
  return end == text.size() || text[end] == '/' || text[end] == '?' || text[end] == '#';
}

} // namespace

const Special* find_special(std::string_view word) noexcept {
  static const Specials specials;
  return specials.find(word);
}

std::size_t prefix_length(std::string_view chunk) noexcept {
  const Utf8Step step = step_utf8(chunk, 0);
  switch (step.code) {
    case '.': {
      const std::size_t dots = std::min(chunk.find_first_not_of('.'), chunk.size());
      return dots > 1 ? dots : 0;
    }
    case '+': return chunk.size() == 1 || !is_digit(static_cast<unsigned char>(chunk[1])) ? 1 : 0;
    case 'U': return chunk.starts_with("US$") ? 3 : 0;
    case 'C':
    case 'A': return chunk.size() > 1 && chunk[1] == '$' ? 2 : 0;
    default:
      if (step.code < 0x80 && (classes[step.code] & (alphanumeric | mark | quote)) != 0)
        return (classes[step.code] & alphanumeric) == 0;
      return contains(U"§%=—–", step.code) || is_mark(step.code) || is_quote(step.code) || is_currency(step.code) ||
                     is_icon(step.code)
                 ? step.length
                 : 0;
  }
}

std::size_t unit_length(std::string_view chunk) noexcept {
  // The digit in front of it is near the end, or there is none.
  for (std::size_t length = 1; length <= longest_unit && length < chunk.size(); ++length) {
    if (class_of(chunk[chunk.size() - length - 1]) != digit) continue;
    const std::string_view end = chunk.substr(chunk.size() - length);
    return std::ranges::find(units, end) == std::end(units) ? 0 : length;
  }
  return 0;
}

std::size_t suffix_length(std::string_view chunk) noexcept {
  if (chunk.empty()) return 0;
  const std::size_t begin = last_begin(chunk);
  const char32_t last = step_utf8(chunk, begin).code;
  if (last < 0x80 && (classes[last] & (mark | quote)) != 0) return 1;
  const std::string_view rest = chunk.substr(0, begin);
  const char32_t before = last_of(rest);
  if (last == '.') {
    const std::size_t dots = dots_at_end(chunk);
    if (dots > 1) return dots;
    if (is_digit(before) || is_lower(before) || contains(U"%²-+|", before) || is_mark(before) || is_quote(before))
      return 1;
    const char32_t earlier = rest.empty() ? 0 : last_of(rest.substr(0, last_begin(rest)));
    if (earlier == U'°' && contains(U"cfkCFK", before)) return 1;
    return is_upper(before) && is_upper(earlier) ? 1 : 0;
  }
  if (is_mark(last) || is_quote(last) || is_icon(last) || last == U'—' || last == U'–') return chunk.size() - begin;
  if ((last == 's' || last == 'S') && (before == '\'' || before == U'’')) return chunk.size() - last_begin(rest);
  if (last == '+') return is_digit(before) ? 1 : 0;
  if (is_currency(last)) {
    for (const std::string_view dollar : {"US$", "C$", "A$"})
      if (chunk.ends_with(dollar) && is_digit(last_of(chunk.substr(0, chunk.size() - dollar.size()))))
        return dollar.size();
    return is_digit(before) ? chunk.size() - begin : 0;
  }
  return unit_length(chunk);
}

Infix next_infix(std::string_view chunk, std::size_t from) noexcept {
  char32_t before = last_of(chunk.substr(0, from));
  for (std::size_t at = from; at < chunk.size();) {
    const Utf8Step step = step_utf8(chunk, at);
    const char32_t c = step.code;
    if (c < 0x80 && (classes[c] & alphanumeric) != 0) {
      before = c;
      ++at;
      continue;
    }
    const auto code_at = [&](std::size_t i) { return i < chunk.size() ? step_utf8(chunk, i).code : char32_t{0}; };
    const char32_t after = code_at(at + step.length);
    const bool joins = is_alpha(before) || is_digit(before);
    if (c == '.' && after == '.') return {at, std::min(chunk.find_first_not_of('.', at), chunk.size()) - at};
    if (c == U'…' || is_icon(c)) return {at, step.length};
    if (is_digit(before) && contains(U"+-*^", c) && (is_digit(after) || after == '-')) return {at, 1};
    if (c == '.' && (is_lower(before) || is_quote(before)) && (is_upper(after) || is_quote(after))) return {at, 1};
    if (c == ',' && is_alpha(before) && is_alpha(after)) return {at, 1};
    if (joins && contains(U"-–—~", c)) {
      if (is_alpha(after)) return {at, step.length};
      if (c == after && (c == '-' || c == U'—')) { // two or three hyphens, two dashes
        if (is_alpha(code_at(at + 2 * step.length))) return {at, 2 * step.length};
        if (c == '-' && code_at(at + 2) == '-' && is_alpha(code_at(at + 3))) return {at, 3};
      }
    }
    if (joins && contains(U":<>=/", c) && is_alpha(after)) return {at, 1};
    before = c;
    at += step.length;
  }
  return {};
}

bool is_url(std::string_view chunk) noexcept {
  if (chunk.find('.') == std::string_view::npos) return false;
  std::size_t begin = 0;
  if (const std::size_t colon = chunk.find("://"); colon != std::string_view::npos && colon >= 2) {
    const auto in_scheme = [](char c) {
      return (classes[static_cast<unsigned char>(c)] & alphanumeric) != 0 || c == '+' || c == '-' || c == '.' ||
             c == '_';
    };
    if (std::ranges::all_of(chunk.substr(0, colon), in_scheme)) begin = colon + 3;
  }
  if (is_host_and_path(chunk.substr(begin))) return true;
  for (std::size_t at = chunk.find('@', begin + 1); at != std::string_view::npos; at = chunk.find('@', at + 1))
    if (is_host_and_path(chunk.substr(at + 1))) return true;
  return false;
}

} // namespace conclave::datakit::rules
