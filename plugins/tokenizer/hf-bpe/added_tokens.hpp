// Added tokens: the tokens of a tokenizer.json that are found in text as they are, before anything is split or merged.
//
// What this is: the search of Hugging Face's tokenizers: from left to right the longest token at each place, then the
// options of that token. Threading: immutable once built.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::hf_bpe {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool special = false;    ///< decode() leaves it out
  bool normalized = false; ///< looked for in normalised text, and normalised itself
  bool lstrip = false;     ///< takes the white space before it with it
  bool rstrip = false;
};

/// A piece of text: a token, or text between tokens (id -1).
struct Section {
  std::int32_t id;
  std::string_view text;
};

class AddedTokenFinder {
 public:
  AddedTokenFinder();
  /// Looks for `text` from now on, and takes it for `token`, which outlives this. An empty text is never found.
  void add(std::string_view text, const AddedToken& token);
  [[nodiscard]] bool empty() const noexcept { return nodes_.size() == 1; }
  /// Appends the sections of `text` in order; together they are the text. With skip_special special tokens are text.
  void find(std::string_view text, bool skip_special, std::vector<Section>& sections) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::uint32_t>> next; ///< sorted by byte
    const AddedToken* token = nullptr;
  };
  [[nodiscard]] std::uint32_t child(std::uint32_t node, unsigned char byte) const noexcept; ///< 0: none
  /// The longest token at the beginning of `text`, and its bytes; null and 0 where there is none.
  [[nodiscard]] std::pair<const AddedToken*, std::size_t> longest(std::string_view text) const noexcept;

  std::vector<Node> nodes_; ///< a trie; the first is its root
};

} // namespace conclave::hf_bpe
