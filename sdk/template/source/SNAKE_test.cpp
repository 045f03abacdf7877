// Tests of @ID@.

#include <gtest/gtest.h>

#include "conclave/source.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace testkit = conclave::testkit;

TEST(@CLASS@, GivesOneDocumentALine) {
  const testkit::TemporaryDir dir;
  const auto file = dir.write("a.txt", "one\n\nthree\n");
  testkit::FakeHost host({.phase = conclave::Phase::prepare});
  const auto made = testkit::make<conclave::Source>(testkit::this_library("@ID@"), host, testkit::map({{"paths", file}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  const auto documents = testkit::read_all(**made);
  ASSERT_TRUE(documents.ok()) << documents.error().render();
  ASSERT_EQ(documents->size(), 2u);
  EXPECT_EQ((*documents)[0].text, "one");
  EXPECT_EQ((*documents)[1].text, "three");
  EXPECT_EQ((*documents)[1].id, file.string() + "#3");
}

TEST(@CLASS@, NamesAMissingFile) {
  testkit::FakeHost host({.phase = conclave::Phase::prepare});
  const auto made = testkit::make<conclave::Source>(testkit::this_library("@ID@"), host, testkit::map({{"paths", "/no/such/file"}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  const auto shards = (*made)->shards();
  ASSERT_FALSE(shards.ok());
  EXPECT_EQ(shards.error().where, "/no/such/file");
}
