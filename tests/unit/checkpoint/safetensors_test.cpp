// Safetensors headers: what is written, and every way in which a foreign one can be wrong.

#include "checkpoint/safetensors.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>

#include "checkpoint/dtypes.hpp"
#include "checkpoint/verified_files.hpp"
#include "fixture.hpp"

namespace conclave::checkpoint_test {
namespace {

using Safetensors = CheckpointTest;

std::string with_header(const std::string& json, std::size_t data_bytes) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(json.size() >> (8 * i));
  return text + json + std::string(data_bytes, 'x');
}

Result<SafetensorsLayout> read_text(const fs::path& root, const std::string& text) {
  const fs::path path = root / "file.safetensors";
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return read_safetensors(file, path);
}

TEST_F(Safetensors, PlansAlignedOrderWithoutHoles) {
  SafetensorsLayout layout;
  layout.entries = {
      {"b", "U8", {3}, 0, 0}, {"a", "BF16", {2, 2}, 0, 0}, {"z", "F64", {1}, 0, 0}, {"c", "F32", {}, 0, 0}};
  const auto head = plan_safetensors(layout);
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->size() % 8, 0u);
  std::int64_t at = 0;
  for (const SafetensorsEntry& entry : layout.entries) {
    EXPECT_EQ(entry.begin, at);
    at = entry.end;
  }
  EXPECT_EQ(layout.entries[0].name, "z");
  EXPECT_EQ(layout.data_bytes, 8 + 4 + 8 + 3);
  const auto back = read_text(root, *head + std::string(static_cast<std::size_t>(layout.data_bytes), '\0'));
  ASSERT_TRUE(back.ok()) << back.error().render();
  EXPECT_EQ(back->entries.size(), 4u);
  EXPECT_EQ(back->data_begin, static_cast<std::int64_t>(head->size()));
}

TEST_F(Safetensors, RefusesToPlanWhatTheFormatCannotHold) {
  for (const std::vector<SafetensorsEntry>& entries :
       std::vector<std::vector<SafetensorsEntry>>{{{"a", "F32", {1}, 0, 0}, {"a", "F32", {1}, 0, 0}},
                                                  {{"a", "C64", {1}, 0, 0}},
                                                  {{"a", "F32", {std::int64_t{1} << 40, std::int64_t{1} << 40}, 0, 0}},
                                                  {{"\xff", "F32", {1}, 0, 0}}}) {
    SafetensorsLayout layout;
    layout.entries = entries;
    EXPECT_FALSE(plan_safetensors(layout).ok());
  }
}

TEST_F(Safetensors, AcceptsWhatOtherToolsWrite) {
  const auto layout = read_text(
      root,
      with_header(
          R"({"__metadata__":{"format":"pt"},"w":{"shape":[2,1],"dtype":"F32","data_offsets":[2,10]},"v":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}   )",
          10));
  ASSERT_TRUE(layout.ok()) << layout.error().render();
  EXPECT_EQ(layout->metadata.at("format"), "pt");
  ASSERT_EQ(layout->entries.size(), 2u);
  EXPECT_EQ(layout->entries[1].name, "w");
  EXPECT_TRUE(read_text(root, with_header("{}", 0)).ok());
}

TEST_F(Safetensors, ReadsAFileOfThePythonPackage) {
  const fs::path path = GOLDEN_FILE;
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto layout = read_safetensors(file, path);
  ASSERT_TRUE(layout.ok()) << layout.error().render();
  EXPECT_EQ(layout->metadata.at("format"), "np");
  const at::Tensor ramp = at::arange(6, at::TensorOptions().dtype(at::kDouble));
  const at::Tensor third = ramp.div(3), shifted = ramp.sub(3);
  const std::map<std::string, at::Tensor> expected = {
      {"f64", third},
      {"f32", third.to(at::kFloat).view({2, 3})},
      {"f16", third.to(at::kHalf)},
      {"i64", shifted.to(at::kLong)},
      {"i32", shifted.to(at::kInt)},
      {"i16", shifted.to(at::kShort)},
      {"i8", shifted.to(at::kChar)},
      {"u8", ramp.to(at::kByte)},
      {"bool", ramp.remainder(2).to(at::kBool)},
      {"scalar", at::full({}, 7.5, at::TensorOptions().dtype(at::kFloat))},
      {"empty", at::empty({0, 4})}};
  ASSERT_EQ(layout->entries.size(), expected.size());
  for (const SafetensorsEntry& entry : layout->entries) {
    const at::Tensor& want = expected.at(entry.name);
    const at::Tensor got = at::empty(entry.shape, at::TensorOptions().dtype(find_dtype(entry.dtype)->scalar_type));
    ASSERT_TRUE(read_exactly(file, path, layout->data_begin + entry.begin,
                             {static_cast<std::byte*>(got.mutable_data_ptr()), static_cast<std::size_t>(got.nbytes())})
                    .ok());
    EXPECT_EQ(got.scalar_type(), want.scalar_type()) << entry.name;
    EXPECT_TRUE(at::equal(got, want)) << entry.name;
  }
}

TEST_F(Safetensors, RefusesEveryMalformedHeader) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"short", std::string("\1\0\0", 3)},
      {"length beyond the file", std::string("\xff\0\0\0\0\0\0\0{}", 10)},
      {"length beyond the limit", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10)},
      {"length that overflows", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)},
      {"empty", with_header("", 0)},
      {"no brace", with_header("[]", 0)},
      {"leading space", with_header(" {}", 0)},
      {"no JSON", with_header("{\"a\":", 0)},
      {"deep", with_header("{\"a\":" + std::string(100'000, '[') + "}", 0)},
      {"twice",
       with_header(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           1)},
      {"twice within", with_header(R"({"a":{"dtype":"F32","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1)},
      {"hole", with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2)},
      {"overlap",
       with_header(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           3)},
      {"data left over", with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2)},
      {"data missing", with_header(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 2)},
      {"range reversed", with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1)},
      {"range too long", with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,2]}})", 2)},
      {"negative shape", with_header(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1)},
      {"real shape", with_header(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1)},
      {"shape overflow",
       with_header(R"({"a":{"dtype":"F64","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0)},
      {"unknown dtype", with_header(R"({"a":{"dtype":"F13","shape":[1],"data_offsets":[0,1]}})", 1)},
      {"no dtype", with_header(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1)},
      {"unknown field", with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1)},
      {"not an object", with_header(R"({"a":1})", 0)},
      {"metadata", with_header(R"({"__metadata__":{"a":1}})", 0)},
  };
  for (const auto& [name, text] : cases) {
    const auto layout = read_text(root, text);
    ASSERT_FALSE(layout.ok()) << name;
    EXPECT_EQ(layout.error().code, Code::storage) << name;
    EXPECT_THAT(layout.error().where, testing::EndsWith("file.safetensors"));
  }
}

TEST(SafeName, KeepsToItsFolder) {
  for (const char* good : {"a", "files/a.json", "a..b", "...", "step 1"})
    EXPECT_TRUE(is_safe_relative_name(good)) << good;
  for (const char* bad : {"", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a/.", "a\\b", "a\nb"})
    EXPECT_FALSE(is_safe_relative_name(bad)) << bad;
  EXPECT_FALSE(is_safe_relative_name(std::string(2000, 'a')));
  EXPECT_FALSE(is_safe_relative_name(std::string_view("a\0b", 3)));
}

} // namespace
} // namespace conclave::checkpoint_test
