// WholeTokens: from the bytes of a piece to the token that it is.
//
// Threading: immutable once built.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace conclave::hf_bpe {

class WholeTokens {
 public:
  /// No text twice.
  void add(std::string_view text, std::int32_t id);
  /// Makes the table: after the last add(), before the first find().
  void build();
  /// The token's id, or -1.
  [[nodiscard]] std::int32_t find(std::string_view wanted) const noexcept;

 private:
  struct Token {
    std::size_t begin, size; ///< in texts_
    std::int32_t id;
  };
  [[nodiscard]] std::string_view text(const Token& token) const noexcept {
    return std::string_view(texts_).substr(token.begin, token.size);
  }
  struct Slot {
    std::uint32_t hash = 0;   ///< its upper half: most that are not meant are told by it
    std::uint32_t number = 0; ///< of the token, from 1; 0: free
  };
  std::string texts_; ///< all of them, one behind the other
  std::vector<Token> tokens_;
  std::vector<Slot> slots_ = std::vector<Slot>(1); ///< open addressing, a power of two, half full at most
};

} // namespace conclave::hf_bpe
