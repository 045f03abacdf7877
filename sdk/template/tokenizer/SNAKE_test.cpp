// Tests of @ID@.

#include <gtest/gtest.h>

#include "conclave/testkit.hpp"
#include "conclave/tokenizer.hpp"

namespace testkit = conclave::testkit;

TEST(@CLASS@, DecodesWhatItEncodes) {
  testkit::FakeHost host({.phase = conclave::Phase::prepare});
  const auto made = testkit::make<conclave::Tokenizer>(testkit::this_library("@ID@"), host);
  ASSERT_TRUE(made.ok()) << made.error().render();
  const std::string text = "tabs\tnewlines\n\xc3\xa9 and more";
  std::vector<std::int32_t> ids;
  ASSERT_TRUE((*made)->encode(text, ids).ok());
  for (const std::int32_t id : ids) EXPECT_LT(id, (*made)->vocabulary_size());
  std::string back;
  ASSERT_TRUE((*made)->decode(ids.data(), ids.size(), back).ok());
  EXPECT_EQ(back, text);
}

TEST(@CLASS@, RefusesForeignBytes) {
  testkit::FakeHost host({.phase = conclave::Phase::prepare});
  const auto made = testkit::make<conclave::Tokenizer>(testkit::this_library("@ID@"), host);
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE((*made)->load((*made)->serialize()).ok());
  EXPECT_FALSE((*made)->load("something else").ok());
}
