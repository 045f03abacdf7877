// Manifests: round trip, and forged ones whose checksum is right.

#include "checkpoint/manifest.hpp"

#include <gmock/gmock.h>

#include "fixture.hpp"

namespace conclave::checkpoint_test {
namespace {

const fs::path somewhere = "x/manifest.json";

Manifest sample() {
  Manifest manifest;
  manifest.step = 20;
  manifest.files["tensors-00001.safetensors"] = {1000, std::string(32, 'a')};
  manifest.files["files/resolved.yaml"] = {10, std::string(32, 'b')};
  manifest.tensors["w"] = {
      "F32",
      {4, 8},
      {{{0, 0}, {2, 8}, "tensors-00001.safetensors", 96}, {{2, 0}, {2, 8}, "tensors-00001.safetensors", 160}}};
  manifest.states["host"]["step"] = std::int64_t{-3};
  manifest.states["host"]["array"] = ManifestArray{"U8", {4}, "tensors-00001.safetensors", 996};
  manifest.meta_json = R"({"seed":18446744073709551615})";
  return manifest;
}

TEST(Manifest, RoundTrips) {
  const auto text = encode_manifest(sample());
  ASSERT_TRUE(text.ok()) << text.error().render();
  const auto back = decode_manifest(*text, somewhere);
  ASSERT_TRUE(back.ok()) << back.error().render();
  EXPECT_EQ(back->step, 20);
  EXPECT_EQ(back->files, sample().files);
  EXPECT_EQ(back->tensors.at("w").boxes[1].begin, 160);
  EXPECT_EQ(back->meta_json, sample().meta_json);
  EXPECT_EQ(encode_manifest(*back).value(), *text);
}

TEST(Manifest, RefusesEveryAlteredByte) {
  const std::string text = encode_manifest(sample()).value();
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string altered = text;
    altered[i] = static_cast<char>(altered[i] ^ 4);
    EXPECT_FALSE(decode_manifest(altered, somewhere).ok()) << "byte " << i;
    EXPECT_FALSE(decode_manifest(text.substr(0, i), somewhere).ok()) << "cut at " << i;
  }
}

/// A checksum finds damage, not forgery: whoever writes a manifest can write its checksum. So the content is checked too.
TEST(Manifest, RefusesForgedContent) {
  const auto refused = [](const char* what, const std::function<void(Manifest&)>& forge) {
    Manifest manifest = sample();
    forge(manifest);
    const auto text = encode_manifest(manifest);
    ASSERT_TRUE(text.ok()) << what;
    const auto back = decode_manifest(*text, somewhere);
    ASSERT_FALSE(back.ok()) << what;
    EXPECT_EQ(back.error().code, Code::storage);
    EXPECT_THAT(back.error().render(), testing::HasSubstr(somewhere.string()));
  };
  const FileDigest digest{1000, std::string(32, 'a')};
  refused("a name that climbs", [&](Manifest& m) { m.files["../../etc/passwd"] = digest; });
  refused("an absolute name", [&](Manifest& m) { m.files["/etc/passwd"] = digest; });
  refused("a file that is not listed", [](Manifest& m) { m.files.erase("tensors-00001.safetensors"); });
  refused("a range past the end", [](Manifest& m) { m.tensors["w"].boxes[1].begin = 940; });
  refused("a range that overflows", [](Manifest& m) { m.tensors["w"].boxes[1].begin = INT64_MAX; });
  refused("a negative range", [](Manifest& m) { m.tensors["w"].boxes[1].begin = -1; });
  refused("an unknown dtype", [](Manifest& m) { m.tensors["w"].dtype = "F99"; });
  refused("a hole", [](Manifest& m) { m.tensors["w"].boxes.pop_back(); });
  refused("an overlap", [](Manifest& m) { m.tensors["w"].boxes[1].offset = {1, 0}; });
  refused("a box outside", [](Manifest& m) { m.tensors["w"].boxes[1].offset = {3, 0}; });
  refused("another rank", [](Manifest& m) { m.tensors["w"].boxes[1].offset = {2}; });
  refused("a huge shape", [](Manifest& m) { m.tensors["w"].shape = {INT64_MAX, INT64_MAX}; });
  refused("a state past the end", [](Manifest& m) { std::get<ManifestArray>(m.states["host"]["array"]).begin = 997; });
  refused("a negative step", [](Manifest& m) { m.step = -1; });
}

TEST(Manifest, PartsOfRanksMakeUpOne) {
  Manifest first = sample(), second = sample();
  first.tensors["w"].boxes.pop_back();
  second.tensors["w"].boxes.erase(second.tensors["w"].boxes.begin());
  second.states.clear();
  second.files = {{"tensors-00002.safetensors", {1000, std::string(32, 'c')}}};
  second.tensors["w"].boxes[0].file = "tensors-00002.safetensors";
  // A part need not cover its tensors; all else is checked as of a whole one.
  const std::string text = encode_manifest(second).value();
  EXPECT_FALSE(decode_manifest(text, somewhere).ok());
  const auto part = decode_manifest(text, somewhere, ManifestScope::part);
  ASSERT_TRUE(part.ok()) << part.error().render();
  second.tensors["w"].boxes[0].begin = 940;
  EXPECT_FALSE(decode_manifest(encode_manifest(second).value(), somewhere, ManifestScope::part).ok());

  Manifest merged = first;
  EXPECT_FALSE(check_all_boxes(merged).ok());
  ASSERT_TRUE(merge_part(merged, *part, 1).ok());
  EXPECT_TRUE(check_all_boxes(merged).ok());
  EXPECT_EQ(merged.files.size(), 3u);
  EXPECT_EQ(merged.states.at("host").size(), 2u);
  EXPECT_TRUE(decode_manifest(encode_manifest(merged).value(), somewhere).ok());

  const Status twice = merge_part(merged, *part, 1);
  ASSERT_FALSE(twice.ok());
  EXPECT_THAT(twice.error().what, testing::HasSubstr("rank 1 wrote 'tensors-00002.safetensors'"));
}

TEST(Manifest, RefusesToEncodeWhatIsNoJson) {
  Manifest manifest = sample();
  manifest.meta_json = "[]";
  EXPECT_FALSE(encode_manifest(manifest).ok());
  manifest.meta_json = "{";
  EXPECT_FALSE(encode_manifest(manifest).ok());
  manifest = sample();
  manifest.tensors["\xff"] = {"F32", {}, {}};
  EXPECT_FALSE(encode_manifest(manifest).ok());
}

TEST(Boxes, MustTileTheTensor) {
  const auto tile = [](std::vector<std::int64_t> offset, std::vector<std::int64_t> size) {
    return ManifestBox{std::move(offset), std::move(size), "f", 0};
  };
  EXPECT_EQ(check_boxes({}, {tile({}, {})}), "");
  EXPECT_EQ(check_boxes({0, 3}, {}), "");
  EXPECT_EQ(check_boxes({2, 2}, {tile({0, 0}, {1, 2}), tile({1, 0}, {1, 1}), tile({1, 1}, {1, 1})}), "");
  EXPECT_NE(check_boxes({}, {tile({}, {}), tile({}, {})}), "");
  EXPECT_NE(check_boxes({2, 2}, {tile({0, 0}, {2, 1}), tile({0, 0}, {1, 2})}), ""); // equal volume, but they meet
}

} // namespace
} // namespace conclave::checkpoint_test
