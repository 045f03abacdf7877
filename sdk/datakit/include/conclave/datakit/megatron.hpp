// Megatron's indexed data: the `.idx` file that says where documents lie in a `.bin` file of bare token ids.
//
//   char[9] "MMIDIDX\0\0", u64 version = 1, u8 type, u64 sequences S, u64 documents + 1 = D,
//   i32 length[S] in tokens, i64 offset[S] in bytes of the .bin, i64 first sequence[D], optionally i8 mode[S]
//
// All little-endian and unaligned. A document is a run of sequences, most often one.
//
// What this is: the layout, shared by whoever reads and writes it, and a reader that takes the index in pieces. What this is
// not: tokens.
//
// Threading: MegatronIndex is immutable; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::datakit {

inline constexpr std::string_view megatron_magic{"MMIDIDX\0\0", 9};
inline constexpr std::uint64_t megatron_version = 1;

/// Types of ids by their code in the index; the codes 6 and 7 are of floating point and hold no ids.
enum class MegatronType : std::uint8_t { u8 = 1, i8 = 2, i16 = 3, i32 = 4, i64 = 5, u16 = 8 };

/// What Megatron itself writes for a vocabulary.
constexpr MegatronType megatron_type(std::int32_t vocabulary_size) {
  return vocabulary_size < 65500 ? MegatronType::u16 : MegatronType::i32;
}
constexpr int megatron_width(MegatronType type) {
  switch (type) {
    case MegatronType::u8:
    case MegatronType::i8: return 1;
    case MegatronType::i16:
    case MegatronType::u16: return 2;
    case MegatronType::i32: return 4;
    case MegatronType::i64: return 8;
  }
  return 0;
}

/// One sequence of a document.
struct MegatronSequence {
  std::int64_t document = 0; ///< to which it belongs
  std::int64_t offset = 0;   ///< in the .bin, in bytes
  std::int64_t tokens = 0;
};

class MegatronIndex {
 public:
  /// Reads the header and holds it against the size of both files. What does not fit is an error that names the file.
  static Result<MegatronIndex> open(const std::string& index_path, const std::string& tokens_path);

  [[nodiscard]] MegatronType type() const noexcept { return type_; }
  [[nodiscard]] std::int64_t documents() const noexcept { return documents_; }
  [[nodiscard]] std::int64_t sequences() const noexcept { return sequences_; }
  [[nodiscard]] std::int64_t token_bytes() const noexcept { return token_bytes_; } ///< size of the .bin

  /// The sequences of documents [first, first + count), in order, each of them within the .bin. A document may have none.
  /// Precondition: the range lies within [0, documents()].
  [[nodiscard]] Result<std::vector<MegatronSequence>> read(std::int64_t first, std::int64_t count) const;

 private:
  [[nodiscard]] Result<std::string> bytes(std::int64_t offset, std::int64_t size) const;

  std::string path_;
  MegatronType type_ = MegatronType::i32;
  std::int64_t sequences_ = 0, documents_ = 0, token_bytes_ = 0;
};

} // namespace conclave::datakit
