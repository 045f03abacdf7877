// Tests of source/html.

#include <gtest/gtest.h>

#include "conclave/datakit/utf8.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"
#include "extract.hpp"
#include "nesting.hpp"

namespace conclave::html {
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
  EXPECT_TRUE(datakit::is_valid_utf8(texts("<p>bad \xFF\xE2\x82 bytes</p>")[0]));
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

TEST(DeclaresWindows1252, ReadsTheCharset) {
  EXPECT_TRUE(declares_windows_1252("<meta charset=\"ISO-8859-1\">"));
  EXPECT_TRUE(declares_windows_1252("<meta http-equiv=Content-Type content='text/html; charset=windows-1252'>"));
  EXPECT_FALSE(declares_windows_1252("<meta charset=utf-8>"));
  EXPECT_FALSE(declares_windows_1252("<meta charset=iso-8859-15>"));
}

TEST(HtmlSource, ReadsATreeOfPages) {
  const testkit::TemporaryDir dir;
  const std::string filler(300, 'x');
  dir.write("a.html", "<h1>A</h1><p>" + filler + "<h2>B</h2><p>" + filler);
  dir.write("b/latin.htm", "<meta charset=iso-8859-1><p>caf\xE9 " + filler);
  dir.write("c.txt", "<p>" + filler);
  dir.write("d.html", "<p>short");
  dir.write("e.html", "");
  dir.write("f.html", std::string("<p>\0", 4) + filler);
  testkit::FakeHost host({.phase = Phase::prepare});
  auto source = testkit::make<Source>(testkit::this_library("source/html"), host,
                                      testkit::map({{"paths", dir.path()}, {"split", "sections"}}));
  ASSERT_TRUE(source.ok()) << source.error().render();
  const auto documents = testkit::read_all(**source);
  ASSERT_TRUE(documents.ok()) << documents.error().render();
  ASSERT_EQ(documents->size(), 3u);
  EXPECT_EQ((*documents)[0], (std::pair<std::string, std::string>{"a.html", "A\n\n" + filler}));
  EXPECT_EQ((*documents)[1], (std::pair<std::string, std::string>{"a.html#1", "B\n\n" + filler}));
  EXPECT_EQ((*documents)[2], (std::pair<std::string, std::string>{"b/latin.htm", "café " + filler}));

  const auto shards = (*source)->shards();
  ASSERT_EQ(shards->size(), 1u);
  auto reader = (*source)->open((*shards)[0]);
  std::string id, text;
  while ((*reader)->next(id, text).value()) {
  }
  EXPECT_EQ((*reader)->skipped(), 3);
}

} // namespace
} // namespace conclave::html
