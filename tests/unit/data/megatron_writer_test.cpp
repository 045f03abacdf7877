// Megatron's files byte by byte, and read again by the data kit's reader.

#include "data/megatron_writer.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string bytes(std::initializer_list<int> values) { return {values.begin(), values.end()}; }

TEST(MegatronWriter, WritesTheFormatByteByByte) {
  const testing::TemporaryFolder folder;
  auto writer = MegatronWriter::create(folder.path() / "x", 65499);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->add(std::vector<std::int32_t>{1, 258, 65498}).ok());
  ASSERT_TRUE(writer->add({}).ok());
  ASSERT_TRUE(writer->add(std::vector<std::int32_t>{7}).ok());
  EXPECT_EQ(writer->documents(), 3);
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_EQ(content(folder.path() / "x.bin"), bytes({1, 0, 2, 1, 0xDA, 0xFF, 7, 0}));
  const std::string zeros(7, '\0');
  const auto number = [&](int value) { return static_cast<char>(value) + zeros; }; // of eight bytes
  EXPECT_EQ(content(folder.path() / "x.idx"), std::string("MMIDIDX\0\0", 9) + number(1) + bytes({8}) + number(3) +
                                                  number(4) + bytes({3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}) + number(0) +
                                                  number(6) + number(6) + number(0) + number(1) + number(2) +
                                                  number(3));
}

TEST(MegatronWriter, WhatItWritesTheReaderReads) {
  const testing::TemporaryFolder folder;
  for (const std::int32_t vocabulary : {1000, 65500}) {
    const auto prefix = (folder.path() / std::to_string(vocabulary)).string();
    auto writer = MegatronWriter::create(prefix, vocabulary);
    ASSERT_TRUE(writer.ok());
    for (std::size_t i = 0; i < 100; ++i)
      ASSERT_TRUE(writer->add(std::vector<std::int32_t>(i, static_cast<std::int32_t>(i))).ok());
    ASSERT_TRUE(writer->finish().ok());
    const auto index = datakit::MegatronIndex::open(prefix + ".idx", prefix + ".bin");
    ASSERT_TRUE(index.ok()) << index.error().render();
    EXPECT_EQ(index->type(), vocabulary == 1000 ? datakit::MegatronType::u16 : datakit::MegatronType::i32);
    const auto sequences = index->read(0, 100);
    ASSERT_TRUE(sequences.ok());
    ASSERT_EQ(sequences->size(), 100u);
    for (std::int64_t i = 0; i < 100; ++i) EXPECT_EQ((*sequences)[static_cast<std::size_t>(i)].tokens, i);
    EXPECT_FALSE(MegatronWriter::create(prefix, vocabulary).ok()); // never over what is there
  }
}

} // namespace
} // namespace conclave::data
