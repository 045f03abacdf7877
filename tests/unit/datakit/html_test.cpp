// The text of HTML pages, and their charsets.

#include "conclave/datakit/html.hpp"

#include <gtest/gtest.h>

#include "conclave/datakit/charset.hpp"
#include "conclave/datakit/utf8.hpp"

namespace conclave::datakit::html {
namespace {

using Texts = std::vector<std::string>;

Texts texts(std::string_view page, bool sections = false, std::size_t min_text = 0) {
  const auto found = extract(page, {.sections = sections, .min_text = min_text});
  return found ? *found : Texts{"<too deep>"};
}

TEST(Extract, BlocksInlineAndEntities) {
  EXPECT_EQ(texts("<h1>Title</h1><p>One <b>bold</b>\n  word &amp; more&nbsp;&eacute;.</p><p>Two<br>lines"),
            (Texts{"Title\n\nOne bold word & more\u00A0é.\n\nTwo\nlines"}));
}

TEST(Extract, ListsTablesAndPre) {
  EXPECT_EQ(texts("<ul><li>a<li>b</ul><table><tr><td>1<td>2<tr><td>3<td>4</table><pre>  x\n    y</pre>"),
            (Texts{"- a\n- b\n\n1\t2\n3\t4\n\n  x\n    y"}));
}

TEST(Extract, LeavesOutWhatASiteRepeats) {
  EXPECT_EQ(
      texts(
          "<head><title>t</title><style>s{}</style></head><body><header>banner</header><nav>menu</nav>"
          "<div role=navigation>crumbs</div><p>kept<a class=headerlink href=#x>¶</a></p><script>var x='<p>no'</script>"
          "<form><p>search</form><p hidden>h</p><aside>a</aside><footer>f</footer></body>"),
      (Texts{"kept"}));
}

TEST(Extract, PrefersMain) {
  EXPECT_EQ(texts("<body><div>around</div><main><header><h1>H</h1></header><p>inside</main>"), (Texts{"H\n\ninside"}));
  EXPECT_EQ(texts("<body><p>around</p><main>x</main>", false, 5), (Texts{"around\n\nx"})); // too little in it
}

TEST(Extract, SectionsJoinUntilThereIsEnough) {
  const char* page = "<p>preface<h1>A</h1><p>aaaa<h2>B</h2><p>bbbb<h3>C</h3><p>cc<h2>D</h2><p>d";
  EXPECT_EQ(texts(page, true, 0), (Texts{"preface", "A\n\naaaa", "B\n\nbbbb\n\nC\n\ncc", "D\n\nd"}));
  EXPECT_EQ(texts(page, true, 10), (Texts{"preface\n\nA\n\naaaa", "B\n\nbbbb\n\nC\n\ncc\n\nD\n\nd"}));
  EXPECT_EQ(texts(page, true, 1000), Texts{});
}

TEST(Extract, SurvivesMalformedPages) {
  EXPECT_EQ(texts(""), Texts{});
  EXPECT_EQ(texts("just text"), (Texts{"just text"}));
  EXPECT_EQ(texts("<p>a</div></b><table><p>b</table"), (Texts{"a\n\nb"}));
  EXPECT_EQ(texts("<p <b a='"), Texts{});
  EXPECT_TRUE(is_valid_utf8(texts("<p>bad \xFF\xE2\x82 bytes</p>")[0]));
  EXPECT_EQ(texts("<!-- never closed <p>x"), Texts{});
}

TEST(Extract, EveryPrefixOfAPageIsSurvived) {
  const std::string page =
      "<!DOCTYPE html><html><body><main><h1>T&eacute;</h1><p>x<![CDATA[y]]><svg><p>z</svg><table><td>1"
      "<select><option>o</select><pre>\n\n p</pre><template><p>t</template></main><frameset>";
  for (std::size_t length = 0; length <= page.size(); ++length) texts(page.substr(0, length), true);
}

TEST(Extract, RandomTagsAreSurvived) {
  const char* parts[] = {
      "<p>",        "</p>",        "<b>",       "</b>",   "<table>", "<td>",           "</table>", "<a href='",
      "'>",         "text",        "<pre>",     "</pre>", "<li>",    "<ul>",           "</ul>",    "&#x",
      "&amp",       "<script>",    "</script>", "<svg>",  "<math>",  "<font color=1>", "<form>",   "<select>",
      "<template>", "</template>", "<!--",      "-->",    "\xFF",    "<frameset>",     "<body>",   "</html>"};
  std::uint32_t state = 9;
  for (int trial = 0; trial < 2000; ++trial) {
    std::string page;
    for (int i = 0; i < 60; ++i) {
      state = state * 1664525u + 1013904223u;
      page += parts[(state >> 16) % std::size(parts)];
    }
    texts(page, trial % 2 == 0);
  }
}

std::string repeat(const char* part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

TEST(Extract, RefusesNestingThatWouldOverflowTheStack) {
  EXPECT_EQ(texts(repeat("<div>", 300'000) + "x"), (Texts{"<too deep>"}));
  EXPECT_EQ(texts(repeat("<div>", 1'000) + "x"), (Texts{"x"}));
  EXPECT_EQ(texts(repeat("<div>x</div>", 10'000), false, 0).size(), 1u);
  EXPECT_EQ(nesting_depth("<div><p><p><li><b></b><i>"), 2);
  EXPECT_EQ(nesting_depth("</div></div><DIV><br><"), 1);
}

TEST(DeclaredCharset, IsReadAsBrowsersDo) {
  EXPECT_EQ(declared_charset("<meta charset=\"ISO-8859-1\">"), "iso-8859-1");
  EXPECT_EQ(declared_charset("<meta http-equiv=Content-Type content='text/html; charset=windows-1252'>"),
            "windows-1252");
  EXPECT_EQ(declared_charset("<meta charset=utf-8>"), "utf-8");
  EXPECT_EQ(declared_charset("<meta charset = Big5 />"), "big5");
  EXPECT_EQ(declared_charset("<?xml encoding='x'?><form accept-charset=latin1><meta charset='koi8-r'>"), "koi8-r");
  EXPECT_EQ(declared_charset("charset, they said. <p>charset"), "");
  EXPECT_EQ(declared_charset(std::string(1024, ' ') + "<meta charset=utf-8>"), "");
}

std::string decoded(std::string page, std::string_view http = {}) {
  to_utf8(page, http);
  return page;
}

TEST(PageToUtf8, ByMarkThenServerThenPage) {
  EXPECT_EQ(decoded("\xEF\xBB\xBFp\xC3\xA9", "iso-8859-1"), "pé");
  EXPECT_EQ(decoded(std::string("\xFF\xFEp\0\xE9\0", 6), "iso-8859-1"), "pé");
  EXPECT_EQ(decoded(std::string("\xFE\xFF\0p\0\xE9", 6)), "pé");
  EXPECT_EQ(decoded("<meta charset=iso-8859-1>\xE9", "Windows-1251"), "<meta charset=iso-8859-1>й");
  EXPECT_EQ(decoded("<meta charset=iso-8859-1>\x80\xE9"), "<meta charset=iso-8859-1>€é");
  EXPECT_EQ(decoded("<meta charset=utf-16>\xE9"), "<meta charset=utf-16>\xE9");
}

TEST(PageToUtf8, WhatIsUtf8OrUnknownStays) {
  EXPECT_EQ(decoded("caf\xC3\xA9", "iso-8859-1"), "café"); // servers say so by default
  EXPECT_EQ(decoded("caf\xE9"), "caf\xE9");                // the host's data.invalid_utf8 judges
  EXPECT_EQ(decoded("caf\xE9", "no-such-charset"), "caf\xE9");
  EXPECT_EQ(decoded("caf\xE9", "utf-8"), "caf\xE9");
}

/// Expectations made with Python's codecs.
TEST(CharsetToUtf8, TheWebsNames) {
  EXPECT_EQ(charset_to_utf8("\xD6\xD0\xCE\xC4", "gb2312"), "中文");
  EXPECT_EQ(charset_to_utf8("\x81\x30\x84\x36", "gbk"), "¥"); // four bytes: gb18030 alone has them
  EXPECT_EQ(charset_to_utf8("\xA4\xA4\xA4\xE5", "big5"), "中文");
  EXPECT_EQ(charset_to_utf8("\x93\xFA\x96\x7B\x87\x40", "shift_jis"), "日本①");
  EXPECT_EQ(charset_to_utf8("\xC6\xFC\xCB\xDC", "euc-jp"), "日本");
  EXPECT_EQ(charset_to_utf8("\x1B$BF|K\\\x1B(B", "iso-2022-jp"), "日本");
  EXPECT_EQ(charset_to_utf8("\xC7\xD1\xB1\xDB\x8C\x63", "euc-kr"), "한글똠");
  EXPECT_EQ(charset_to_utf8("\xF2\xC5\xD3\xD4", "koi8-r"), "Рест");
  EXPECT_EQ(charset_to_utf8("\xFD\xDE", "iso-8859-9"), "ıŞ");
  EXPECT_EQ(charset_to_utf8("a\xFF\xFFz", "gbk"), "a\uFFFD\uFFFDz");
  EXPECT_FALSE(charset_to_utf8("x", "no-such-charset"));
  EXPECT_FALSE(charset_to_utf8("x", ""));
}

} // namespace
} // namespace conclave::datakit::html
