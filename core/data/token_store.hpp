// TokenStore: the prepared corpus, memory-mapped.
//
// Layout: for each split and domain a flat array of int32 (or uint16 when the vocabulary fits) token ids, and the bounds of
// its documents. A manifest with digests is written last; a store without one does not exist. A document that the length
// gate split is several documents here, and only the last of them has the end token.
//
// Threading: immutable; safe to read from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave::data {

enum class Split { train, held_out };

class TokenStore {
 public:
  virtual ~TokenStore() = default;
  [[nodiscard]] virtual const std::string& digest() const = 0; ///< hex; equal corpora have equal digests
  [[nodiscard]] virtual std::size_t domain_count() const = 0;
  [[nodiscard]] virtual const std::string& domain_name(std::size_t domain) const = 0;
  [[nodiscard]] virtual double share(std::size_t domain) const = 0; ///< normalised to sum 1
  [[nodiscard]] virtual std::int64_t documents(Split split, std::size_t domain) const = 0;
  [[nodiscard]] virtual std::int64_t tokens(Split split, std::size_t domain) const = 0;
  /// UTF-8 bytes of the text that became those tokens: bits per byte needs it.
  [[nodiscard]] virtual std::int64_t text_bytes(Split split, std::size_t domain) const = 0;
  /// Copies `count` token ids from position `first` of the domain's stream (documents back to back, each ended by the
  /// tokenizer's end token when it has one). Precondition: within tokens().
  virtual void copy(Split split, std::size_t domain, std::int64_t first, std::int64_t count,
                    std::int32_t* out) const = 0;
  /// Start of document i in the stream; i == documents() gives the end.
  [[nodiscard]] virtual std::int64_t document_start(Split split, std::size_t domain, std::int64_t i) const = 0;
  [[nodiscard]] virtual std::int32_t vocabulary_size() const = 0;
  [[nodiscard]] virtual SpecialTokens special_tokens() const = 0;
  [[nodiscard]] virtual const std::filesystem::path& directory() const = 0;
};

/// Opens a store that prepare() made: the manifest's own digest and every file's size are checked. A missing or damaged
/// store is Code::storage and names the file.
Result<std::shared_ptr<const TokenStore>> open_token_store(const std::filesystem::path& directory);

/// The full check: the content of every file against its digest. Reads the whole store, so no run does it: it serves the
/// verb that checks a store, and the tests.
Status verify_token_store(const std::filesystem::path& directory);

/// What Tokenizer::serialize() gave when the store was made.
Result<std::string> read_tokenizer_state(const std::filesystem::path& directory);

} // namespace conclave::data
