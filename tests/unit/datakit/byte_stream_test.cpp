// Tests of datakit's byte streams. Compressed inputs are made by zlib and zstd themselves.

#include "conclave/datakit/byte_stream.hpp"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "conclave/testkit.hpp"

namespace conclave::datakit {
namespace {

std::string gzip(std::string_view text) {
  z_stream state{};
  deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(compressBound(text.size()) + 64, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  deflate(&state, Z_FINISH);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

std::string zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 1));
  return out;
}

/// 3 MB that compress to more than one input buffer.
std::string sample() {
  std::string text;
  std::uint32_t state = 1;
  while (text.size() < (3u << 20)) {
    state = state * 1664525u + 1013904223u;
    text += std::to_string(state) + (state % 7 == 0 ? "\n" : " ");
  }
  return text;
}

struct Reading {
  std::string text;
  std::string error;
};

Reading read(const std::filesystem::path& path, std::size_t step = 10'007) {
  Reading reading;
  auto stream = open_bytes(path.string());
  if (!stream.ok()) return {"", stream.error().render()};
  std::string buffer(step, '\0');
  for (;;) {
    const auto got = (*stream)->read(buffer.data(), buffer.size());
    if (!got.ok()) {
      reading.error = got.error().render();
      return reading;
    }
    if (*got == 0) return reading;
    reading.text.append(buffer, 0, *got);
  }
}

TEST(ByteStream, ReadsPlainGzipAndZstdAlike) {
  const testkit::TemporaryDir dir;
  const std::string text = sample();
  for (const auto& [name, content] : {std::pair{"a", text}, {"b.gz", gzip(text)}, {"no-extension", zstd(text)}}) {
    const Reading reading = read(dir.write(name, content));
    EXPECT_EQ(reading.error, "") << name;
    EXPECT_TRUE(reading.text == text) << name;
  }
}

TEST(ByteStream, ReadsThroughConcatenatedPartsAndPadding) {
  const testkit::TemporaryDir dir;
  EXPECT_EQ(read(dir.write("a.gz", gzip("one ") + gzip("") + gzip("two"))).text, "one two");
  EXPECT_EQ(read(dir.write("b.gz", gzip("one") + std::string(512, '\0'))).text, "one");
  const std::string skippable("\x50\x2A\x4D\x18\x03\x00\x00\x00xyz", 11);
  EXPECT_EQ(read(dir.write("c.zst", skippable + zstd("one ") + skippable + zstd("two"))).text, "one two");
}

TEST(ByteStream, EmptyFilesAndEmptyStreamsAreEmpty) {
  const testkit::TemporaryDir dir;
  for (const auto& [name, content] : {std::pair{"a", std::string()}, {"b.gz", gzip("")}, {"c.zst", zstd("")}}) {
    const Reading reading = read(dir.write(name, content));
    EXPECT_EQ(reading.error, "") << name;
    EXPECT_EQ(reading.text, "") << name;
  }
}

TEST(ByteStream, EveryTruncationIsAnErrorThatNamesTheFile) {
  const testkit::TemporaryDir dir;
  for (const bool gz : {true, false}) {
    const std::string whole =
        gz ? gzip("a text that is long enough to be cut") : zstd("a text that is long enough to be cut");
    // From 4 bytes on the format is known; less is read as a short plain file.
    for (std::size_t length = 4; length < whole.size(); ++length) {
      const auto path = dir.write("cut", whole.substr(0, length));
      const Reading reading = read(path);
      EXPECT_NE(reading.error.find(path.string()), std::string::npos)
          << gz << " cut at " << length << ": " << reading.error;
    }
  }
}

TEST(ByteStream, FlippedBitsNeverGiveSilentlyWrongText) {
  const testkit::TemporaryDir dir;
  const std::string text = "gzip carries a checksum, so a flipped bit in the data is found. " + std::to_string(12345);
  const std::string whole = gzip(text);
  for (std::size_t i = 10; i < whole.size(); ++i) { // behind the header, whose time and name are free
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    const Reading reading = read(dir.write("flip.gz", flipped));
    EXPECT_FALSE(reading.error.empty() && reading.text != text) << "byte " << i;
  }
}

TEST(ByteStream, GarbageAfterAMemberIsAnError) {
  const testkit::TemporaryDir dir;
  EXPECT_NE(read(dir.write("a.gz", gzip("one") + "garbage")).error, "");
  EXPECT_NE(read(dir.write("a.zst", zstd("one") + "garbage")).error, "");
}

TEST(ByteStream, MissingFileIsAnErrorWithTheReason) {
  const auto stream = open_bytes("/nowhere/at/all");
  ASSERT_FALSE(stream.ok());
  EXPECT_EQ(stream.error().code, Code::storage);
  EXPECT_EQ(stream.error().where, "/nowhere/at/all");
}

TEST(LineReader, TakesEveryLineEndAndTheLastLine) {
  const testkit::TemporaryDir dir;
  const auto path = dir.write("a", "one\r\n\ntoo long for it\nlast");
  auto stream = open_bytes(path.string());
  ASSERT_TRUE(stream.ok());
  LineReader lines(std::move(*stream), 8);
  std::vector<std::string> found;
  std::string line;
  for (;;) {
    const auto next = lines.next(line);
    ASSERT_TRUE(next.ok());
    if (*next == LineReader::Line::none) break;
    found.push_back(*next == LineReader::Line::too_long ? "<too long>" : line);
  }
  EXPECT_EQ(found, (std::vector<std::string>{"one", "", "<too long>", "last"}));
  EXPECT_EQ(lines.count(), 4);
}

TEST(NextBoundary, FindsTheEndOfTheRecordThatAPositionCuts) {
  const testkit::TemporaryDir dir;
  const std::string path = dir.write("a", "ab\ncd\n\nef").string();
  const auto at = [&](std::int64_t offset, std::string_view separator) {
    return next_boundary(path, offset, separator).value();
  };
  EXPECT_EQ(at(0, "\n"), 0);
  EXPECT_EQ(at(1, "\n"), 3);
  EXPECT_EQ(at(3, "\n"), 3); // already behind a newline
  EXPECT_EQ(at(4, "\n"), 6);
  EXPECT_EQ(at(2, "\n\n"), 7);
  EXPECT_EQ(at(7, "\n\n"), 7);
  EXPECT_EQ(at(8, "\n\n"), 9); // no more: the end
}

TEST(NextBoundary, FindsASeparatorThatStraddlesItsWindow) {
  const testkit::TemporaryDir dir;
  for (const std::size_t before : {65535u, 65536u, 65537u}) {
    const std::string path = dir.write("a", std::string(before, 'x') + "\n\n" + std::string(10, 'y')).string();
    EXPECT_EQ(next_boundary(path, 1, "\n\n").value(), static_cast<std::int64_t>(before) + 2);
  }
}

TEST(ReadAll, SaysWhenTheLimitIsPassed) {
  const testkit::TemporaryDir dir;
  const std::string path = dir.write("a", "0123456789").string();
  std::string out;
  EXPECT_TRUE(read_all(**open_bytes(path), 10, out).value());
  EXPECT_EQ(out, "0123456789");
  EXPECT_FALSE(read_all(**open_bytes(path), 9, out).value());
  EXPECT_EQ(out, "012345678");
}

} // namespace
} // namespace conclave::datakit
