// Tests of source/html.

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave::html {
namespace {

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
  EXPECT_EQ((*documents)[0], (RawDocument{"a.html", "A\n\n" + filler}));
  EXPECT_EQ((*documents)[1], (RawDocument{"a.html#1", "B\n\n" + filler}));
  EXPECT_EQ((*documents)[2], (RawDocument{"b/latin.htm", "café " + filler}));

  const auto shards = (*source)->shards();
  ASSERT_EQ(shards->size(), 1u);
  auto reader = (*source)->open((*shards)[0]);
  RawDocument document;
  while ((*reader)->next(document).value()) {
  }
  EXPECT_EQ((*reader)->skipped(), 3);
}

} // namespace
} // namespace conclave::html
