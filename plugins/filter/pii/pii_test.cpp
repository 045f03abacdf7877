// Tests of filter/pii: what is an address and what is none, replacements in turn.

#include <gtest/gtest.h>

#include "addresses.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave::pii {
namespace {

std::string first(Span (*find)(std::string_view, std::size_t), std::string_view text) {
  const Span span = find(text, 0);
  return std::string(text.substr(span.begin, span.end - span.begin));
}

TEST(Email, IsFoundWhole) {
  for (const auto& [text, address] : std::vector<std::pair<std::string, std::string>>{
           {"write to jane.doe+x@mail.example.org.", "jane.doe+x@mail.example.org"},
           {"<a_b@c-d.ee>", "a_b@c-d.ee"},
           {"x@y", ""},
           {"@decorator.name", ""},
           {"a..b@c.de", "b@c.de"},
           {"name@-bad.example", ""},
           {"(u@[192.0.2.1])", "u@[192.0.2.1]"},
           {"u@host.example-", "u@host.example"},
           {"first@one.example second@two.example", "first@one.example"},
           {"müller@x.example", ""},
           {"@@a@b.cd", "a@b.cd"},
       })
    EXPECT_EQ(first(find_email, text), address) << text;
}

TEST(Ipv4, IsFoundWhole) {
  for (const auto& [text, address] : std::vector<std::pair<std::string, std::string>>{
           {"at 8.8.8.8, port", "8.8.8.8"},
           {"1.2.3", ""},
           {"256.1.1.1", "56.1.1.1"},
           {"v1.2.3.4.5", "1.2.3.4"},
           {"1.1.1.2567", "1.1.1.25"},
           {"1..2.3.4 5.6.7.8", "5.6.7.8"},
       })
    EXPECT_EQ(first(find_ipv4, text), address) << text;
}

TEST(Ipv4, IsPublicOutsideSpecialNetworks) {
  for (const char* address : {"8.8.8.8", "172.32.0.1", "192.169.1.1", "100.63.0.1", "223.255.255.254", "224.0.0.1"})
    EXPECT_TRUE(is_public_ipv4(address)) << address;
  for (const char* address : {"10.1.2.3", "127.0.0.1", "169.254.1.1", "172.31.0.1", "192.168.0.1", "192.0.2.7",
                              "198.18.0.1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "01.2.3.4", "8.8.8.08"})
    EXPECT_FALSE(is_public_ipv4(address)) << address;
}

std::string edit(const std::string& text, const Value& with = {}) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/pii"), host, with);
  if (!made.ok()) return made.error().render();
  std::string out = "left from before";
  const bool changed = dynamic_cast<const EditFilter&>(**made).edit({.id = "doc#0", .text = text}, out);
  return changed ? out : "as it was";
}

TEST(Edit, ReplacesInTurn) {
  EXPECT_EQ(edit("a@b.cd, e@f.gh, i@j.kl"), "email@example.com, firstname.lastname@example.org, email@example.com");
  EXPECT_EQ(edit("ping 8.8.8.8 from 10.0.0.1 and a@b.cd"), "ping 22.214.171.124 from 10.0.0.1 and email@example.com");
  EXPECT_EQ(edit("ping 10.0.0.1", testkit::map({{"public_only", false}})), "ping 22.214.171.124");
  EXPECT_EQ(edit("nothing to hide"), "as it was");
  EXPECT_EQ(edit("a@b.cd 8.8.8.8", testkit::map({{"emails", false}, {"ip_addresses", false}})), "as it was");
  EXPECT_NE(edit("", testkit::map({{"email_replacements", testkit::list({})}})).find("the list is empty"),
            std::string::npos);
}

TEST(Columns, CountWhatIsReplaced) {
  testkit::FakeHost host;
  auto made = testkit::make<Filter>(testkit::this_library("filter/pii"), host);
  ASSERT_TRUE(made.ok());
  const auto columns = testkit::annotate(**made, {"a@b.cd 8.8.8.8 9.9.9.9 10.0.0.1", ""});
  EXPECT_EQ(columns.row(0).integer(0), 1);
  EXPECT_EQ(columns.row(0).integer(1), 2);
  EXPECT_EQ(columns.row(1).integer(0), 0);
  EXPECT_TRUE(columns.complete());
}

} // namespace
} // namespace conclave::pii
