// Digests against published values of XXH3 (128 bits, seed 0): they are in manifests on people's disks.

#include "io/digest.hpp"

#include <gtest/gtest.h>

namespace conclave {
namespace {

TEST(Digest, IsXxh3With128Bits) {
  EXPECT_EQ(Digest().hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(Digest().bytes("a", 1).hex(), "a96faf705af16834e6c632b61e964e1f");
}

TEST(Digest, PiecesOfBytesAreOneStream) {
  const std::string text(3000, 'x');
  Digest digest;
  for (std::size_t at = 0; at < text.size(); at += 7)
    digest.bytes(text.data() + at, std::min<std::size_t>(7, text.size() - at));
  EXPECT_EQ(digest.hex(), Digest().bytes(text.data(), text.size()).hex());
}

TEST(Digest, TextKnowsWhereItEnds) {
  EXPECT_NE(Digest().text("ab").text("c").hex(), Digest().text("a").text("bc").hex());
  EXPECT_EQ(Digest().text("ab").hex(), Digest().number(std::uint64_t{2}).bytes("ab", 2).hex());
  EXPECT_EQ(Digest().number(std::uint64_t{0x0102}).hex(), Digest().bytes("\x02\x01\0\0\0\0\0\0", 8).hex());
}

} // namespace
} // namespace conclave
