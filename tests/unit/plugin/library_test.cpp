// What a descriptor must say of itself.

#include "plugin/library.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

namespace conclave {
namespace {

using testing::HasSubstr;

struct Options {
  int n = 1;
};

PluginDescriptor descriptor() {
  PluginDescriptor d;
  d.info = {"filter/fine", "1.0", 1, "Fine.", "MIT"};
  d.kind = "filter";
  d.options = OptionTableBuilder<Options>().opt("n", &Options::n).build();
  d.create = [](HostContext&, const void*) -> Result<std::shared_ptr<Plugin>> { return invalid("not here"); };
  return d;
}

TEST(CheckDescriptor, AcceptsAFullOne) { EXPECT_EQ(check_descriptor(descriptor()), ""); }

TEST(CheckDescriptor, NamesWhatIsWrong) {
  struct Case {
    std::function<void(PluginDescriptor&)> change;
    const char* expected;
  };
  const Case cases[] = {
      {[](auto& d) { d.info.id = "fine"; }, "not `kind/name`"},
      {[](auto& d) { d.info.id = "filter/Fine"; }, "lower-case"},
      {[](auto& d) { d.info.id = "filter/-fine"; }, "lower-case"},
      {[](auto& d) { d.info.id = "filter/"; }, "not `kind/name`"},
      {[](auto& d) { d.info.id = "sieve/fine"; }, "names no kind"},
      {[](auto& d) { d.kind = "source"; }, "the class is a source"},
      {[](auto& d) { d.info.version = ""; }, "no version"},
      {[](auto& d) { d.info.summary = ""; }, "no summary"},
      {[](auto& d) { d.info.licence = ""; }, "no licence"},
      {[](auto& d) { d.info.output_revision = 0; }, "output_revision"},
      {[](auto& d) { d.create = nullptr; }, "no factory"},
      {[](auto& d) { d.options = OptionTable(); }, "no option table"},
      {[](auto& d) { d.options = OptionTableBuilder<Options>().opt("n", &Options::n).opt("n", &Options::n).build(); },
       "two options called n"},
  };
  for (const Case& c : cases) {
    PluginDescriptor d = descriptor();
    c.change(d);
    EXPECT_THAT(check_descriptor(d), HasSubstr(c.expected));
  }
}

TEST(OpenLibrary, FillsInTheLibraryAndIsRepeatable) {
  const std::string file = std::string(CONCLAVE_FAULT_PLUGINS) + "/scheduler-good.so";
  for (int i = 0; i < 2; ++i) {
    const auto opened = open_library(file);
    ASSERT_TRUE(opened.ok()) << opened.error().render();
    ASSERT_EQ((*opened)->size(), 1u);
    EXPECT_EQ((**opened)[0].library, file);
  }
}

TEST(OpenLibrary, SaysWhatAnEntryThrew) {
  const std::string file = std::string(CONCLAVE_FAULT_PLUGINS) + "/scheduler-throwing-table.so";
  const auto opened = open_library(file);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().where, file);
  EXPECT_THAT(opened.error().what, HasSubstr("the table is upside down"));
}

TEST(OpenLibrary, AFileThatCannotBeOpenedIsTheMachinesFault) {
  bool missing = false;
  const auto opened = open_library("/no/such/library.so", &missing);
  ASSERT_FALSE(opened.ok());
  EXPECT_TRUE(missing);
  EXPECT_THAT(opened.error().what, HasSubstr("cannot be opened"));
  EXPECT_THAT(opened.error().what, HasSubstr("No such file"));
}

} // namespace
} // namespace conclave
