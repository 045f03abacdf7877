// Reads a tokenizer.json: what of it decides ids and text, and nothing else.
//
// What this is: a byte-level BPE model with what stands before it (added tokens, NFC, pre-tokenisers). What this is not:
// any tokenizer.json. What would give other ids than Hugging Face's tokenizers is refused by its place and name, never
// ignored; truncation, padding and post-processor are left out, for encode() does none of them.
//
// Threading: pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "added_tokens.hpp"
#include "conclave/status.hpp"
#include "merge_table.hpp"
#include "splitter.hpp"

namespace conclave::hf_bpe {

inline constexpr std::size_t largest_file = std::size_t{256} << 20; ///< bytes
inline constexpr std::int32_t most_ids = 1 << 24;

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
};
template <class Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

struct TokenizerFile {
  StringMap<std::int32_t> vocabulary; ///< of the model, as the file writes it
  std::int32_t size = 0;              ///< the largest id and one
  std::array<std::int32_t, 256> bytes{};
  std::vector<Merge> merges;
  bool ignore_merges = false; ///< a piece that is a token is that token
  bool nfc = false;
  bool prefix_space = false; ///< a space is put before a text that starts without one
  Splitter splitter;
  std::vector<AddedToken> added;
};

/// Errors say the place in the file as `model.merges[3]`; their `where` is empty.
Result<TokenizerFile> read_tokenizer_json(std::string_view text);

} // namespace conclave::hf_bpe
