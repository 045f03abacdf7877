// The ELF note: read from real libraries, compared by the rules of fitting.

#include "plugin/build_fingerprint.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "conclave/testkit.hpp"

namespace conclave {
namespace {

using testing::HasSubstr;

const std::filesystem::path folder = CONCLAVE_FAULT_PLUGINS;

BuildFingerprint without_tensors() {
  BuildFingerprint plugin = host_fingerprint();
  plugin.torch.clear();
  plugin.cuda.clear();
  return plugin;
}

TEST(ParseFingerprint, ReadsKnownKeysAndIgnoresTheRest) {
  const BuildFingerprint read = parse_fingerprint("sdk=abc\nfuture=1\n\nbroken line\ncompiler=GCC = 12\nlibstdcxx=12");
  EXPECT_EQ(read.sdk, "abc");
  EXPECT_EQ(read.compiler, "GCC = 12");
  EXPECT_EQ(read.libstdcxx, "12");
  EXPECT_EQ(read.torch, "");
}

TEST(ReadFingerprint, OfALibraryBuiltHereFits) {
  const auto read = read_fingerprint(folder / "scheduler-good.so");
  ASSERT_TRUE(read.ok()) << read.error().render();
  EXPECT_EQ(*read, without_tensors());
  const FingerprintVerdict verdict = compare_fingerprints(*read, host_fingerprint());
  EXPECT_TRUE(verdict.fits());
  EXPECT_EQ(verdict.render(), "");
}

TEST(ReadFingerprint, NamesTheFileAndWhatItIsNot) {
  const testkit::TemporaryDir dir;
  const auto text = dir.write("notes.so", "not an ELF file at all");
  const auto empty = dir.write("empty.so", "");
  for (const auto& file : {text, empty}) {
    const auto read = read_fingerprint(file);
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().where, file.string());
    EXPECT_EQ(read.error().code, Code::unsupported);
    EXPECT_THAT(read.error().what, HasSubstr("not an ELF shared library"));
  }
  EXPECT_THAT(read_fingerprint(dir.path() / "missing.so").error().what, HasSubstr("cannot be read"));
  EXPECT_THAT(read_fingerprint(folder / "scheduler-no-note.so").error().what, HasSubstr("no Conclave fingerprint"));
}

TEST(ReadFingerprint, SurvivesTruncationAndFlippedBytes) {
  std::ifstream in(folder / "scheduler-good.so", std::ios::binary);
  std::ostringstream whole;
  whole << in.rdbuf();
  const std::string bytes = whole.str();
  const testkit::TemporaryDir dir;
  for (std::size_t size = 16; size < bytes.size(); size += bytes.size() / 37 + 1)
    (void)read_fingerprint(dir.write("cut.so", bytes.substr(0, size)));
  for (std::size_t at = 0; at < bytes.size(); at += bytes.size() / 101 + 1) {
    std::string damaged = bytes;
    for (std::size_t i = at; i < std::min(at + 8, bytes.size()); ++i) damaged[i] = static_cast<char>(~damaged[i]);
    (void)read_fingerprint(dir.write("flipped.so", damaged)); // any answer, no crash
  }
}

TEST(CompareFingerprints, ShowsBothSidesAndHowToRebuild) {
  const auto read = read_fingerprint(folder / "scheduler-wrong-fingerprint.so");
  ASSERT_TRUE(read.ok());
  const FingerprintVerdict verdict = compare_fingerprints(*read, host_fingerprint());
  ASSERT_FALSE(verdict.fits());
  EXPECT_THAT(verdict.render(), HasSubstr("0123456789abcdef"));
  EXPECT_THAT(verdict.render(), HasSubstr(host_fingerprint().sdk));
  EXPECT_THAT(verdict.render(), HasSubstr("rebuild"));
  // The folder that the command names is one where CMake finds the package.
  const std::string text = verdict.render(), option = "-DConclave_DIR=";
  const std::size_t begin = text.find(option) + option.size();
  const std::filesystem::path package = text.substr(begin, text.find(' ', begin) - begin);
  EXPECT_TRUE(std::filesystem::exists(package / "ConclaveConfig.cmake")) << text;
}

TEST(MissingTensorNote, IsForKindsThatExchangeTensors) {
  for (const char* kind : {"model", "optimizer"}) {
    EXPECT_THAT(missing_tensor_note(without_tensors(), kind), HasSubstr("TENSOR")) << kind;
    EXPECT_EQ(missing_tensor_note(host_fingerprint(), kind), "") << kind;
  }
  EXPECT_EQ(missing_tensor_note(without_tensors(), "filter"), "");
}

TEST(CompareFingerprints, EachRuleOfFitting) {
  const BuildFingerprint& host = host_fingerprint();
  struct Case {
    const char* name;
    std::function<void(BuildFingerprint&)> change;
    bool fits;
    bool warns;
  };
  const int libstdcxx = std::stoi(host.libstdcxx);
  const Case cases[] = {
      {"no tensors: torch does not matter", [](auto& p) { p.torch = "", p.cuda = "99"; }, true, false},
      {"another torch", [](auto& p) { p.torch = "2.12.0 deadbeef"; }, false, false},
      {"another CUDA", [](auto& p) { p.torch = host_fingerprint().torch, p.cuda = "9.0"; }, false, false},
      {"the old ABI", [](auto& p) { p.cxx11_abi = "0"; }, false, false},
      {"sanitized otherwise", [](auto& p) { p.sanitizer += "x"; }, false, false},
      {"library checks", [](auto& p) { p.stdlib_checks += "x"; }, false, false},
      {"an older libstdc++", [&](auto& p) { p.libstdcxx = std::to_string(libstdcxx - 1); }, true, false},
      {"a newer libstdc++", [&](auto& p) { p.libstdcxx = std::to_string(libstdcxx + 1); }, false, false},
      {"no libstdc++ release", [](auto& p) { p.libstdcxx = ""; }, false, false},
      {"another compiler", [](auto& p) { p.compiler = "another"; }, true, true},
  };
  for (const Case& c : cases) {
    BuildFingerprint plugin = without_tensors();
    c.change(plugin);
    const FingerprintVerdict verdict = compare_fingerprints(plugin, host);
    EXPECT_EQ(verdict.fits(), c.fits) << c.name << ": " << verdict.render();
    EXPECT_EQ(!verdict.warnings.empty(), c.warns) << c.name;
  }
}

} // namespace
} // namespace conclave
