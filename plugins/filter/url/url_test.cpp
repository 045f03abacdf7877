// Tests of filter/url: hosts, each list by its verdict, lists that are none.

#include <gtest/gtest.h>

#include <fstream>

#include "block_list.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave::url {
namespace {

TEST(Host, OfAUrl) {
  for (const auto& [url, host] : std::vector<std::pair<std::string, std::string>>{
           {"https://user:word@WWW.Example.com:8080/path?x#y", "www.example.com"},
           {"http://example.com", "example.com"},
           {"example.com./x", "example.com"},
           {"http://example.com?at=a@b.cd", "example.com"},
           {"", ""},
       })
    EXPECT_EQ(host_of(url), host) << url;
}

std::string list(const std::string& name, const std::string& content) {
  const std::string path = testing::TempDir() + "url_test_" + name;
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::shared_ptr<Filter> make(const Value& with) {
  static testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/url"), host, with);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().render());
  return made.ok() ? *made : nullptr;
}

std::string verdict(const Filter& made, const std::string& url) {
  auto& filter = const_cast<Filter&>(made);
  const Document document{.id = "doc#0", .text = "text", .url = url};
  testkit::MemoryColumns columns(filter.columns(), 1);
  filter.annotate({&document, 1}, columns);
  const Verdict found = filter.select(columns.row(0));
  return found.reason == nullptr ? "" : found.reason;
}

TEST(Rules, EachDropsItsOwnKindOfUrl) {
  const auto filter = make(testkit::map({{"hosts", list("hosts", "# no host\nbad.example\n\nWorse.Example.org\n")},
                                         {"urls", list("urls", "https://good.example/bad-page\n")},
                                         {"words", list("words", "casino\n")},
                                         {"soft_words", list("soft", "free\nhot\n")},
                                         {"parts", list("parts", "x-rated\n")}}));
  ASSERT_NE(filter, nullptr);
  for (const auto& [url, reason] : std::vector<std::pair<std::string, std::string>>{
           {"https://good.example/page", ""},
           {"https://bad.example/page", "host"},
           {"https://www.bad.example", "host"},
           {"https://notbad.example", ""},
           {"https://a.worse.example.org/x", "host"},
           {"https://example.org/x", ""},
           {"https://good.example/bad-page", "url"},
           {"https://good.example/bad-page/", ""},
           {"https://good.example/Casino/", "word"},
           {"https://good.example/casinos/", ""},
           {"https://good.example/free-shipping", ""},
           {"https://good.example/free-free", ""},
           {"https://good.example/hot_free", "soft-words"},
           {"https://good.example/maxrated/", "part"},
           {"https://good.example/x/rated/", "part"},
           {"", ""},
       })
    EXPECT_EQ(verdict(*filter, url), reason) << url;
}

TEST(Lists, TheirEntriesAreTheKey) {
  const auto inputs = [](const std::string& content) {
    return make(testkit::map({{"words", list("changing", content)}}))->inputs();
  };
  EXPECT_EQ(inputs("one\n"), inputs("# a comment\none\n"));
  EXPECT_NE(inputs("one\n"), inputs("two\n"));
}

TEST(Lists, NoneDropNothing) { EXPECT_EQ(verdict(*make({}), "https://bad.example"), ""); }

TEST(Lists, ThatAreNone) {
  testkit::FakeHost host;
  const auto error = [&](const Value& with) {
    const auto made = testkit::make<Filter>(testkit::this_library("filter/url"), host, with);
    return made.ok() ? "none" : made.error().render();
  };
  EXPECT_NE(error(testkit::map({{"words", "/no/such/file"}})).find("/no/such/file"), std::string::npos);
  EXPECT_NE(error(testkit::map({{"words", list("long", std::string(1 << 17, 'x'))}})).find("line 1 is longer"),
            std::string::npos);
}

} // namespace
} // namespace conclave::url
