// Tokenizer: text to token ids and back, and the files that other tools need to do the same.
//
// Threading: train() and write() on the main thread; encode() and decode() are const and may run on many threads at once
// after the tokenizer is ready (made from a file, or trained).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/plugin.hpp"

namespace conclave {

/// Ids of the special tokens; -1 where there is none.
struct SpecialTokens {
  std::int32_t beginning = -1, end = -1, padding = -1, unknown = -1;
};

class Tokenizer : public Plugin {
 public:
  static constexpr const char* kind = "tokenizer";
  ~Tokenizer() override;

  /// True when train() must run before anything else.
  [[nodiscard]] virtual bool needs_training() const = 0;
  /// [prepare] Trains on the texts that `next` yields until it returns false. The result is a pure function of the texts,
  /// their order and the options.
  virtual Status train(const std::function<bool(std::string& text)>& next) = 0;
  /// The trained state as bytes, and back: what the cache and checkpoints keep. load() of unfit bytes is an error.
  [[nodiscard]] virtual std::string serialize() const = 0;
  virtual Status load(std::string_view bytes) = 0;

  [[nodiscard]] virtual std::int32_t vocabulary_size() const = 0;
  [[nodiscard]] virtual SpecialTokens special_tokens() const = 0;
  /// Appends the ids of `text` (UTF-8) without adding special tokens.
  virtual Status encode(std::string_view text, std::vector<std::int32_t>& ids) const = 0;
  virtual Status decode(const std::int32_t* ids, std::size_t count, std::string& text) const = 0;
  /// Writes the files that Hugging Face tools load (tokenizer.model, tokenizer_config.json, ...) into a folder.
  virtual Status write(const std::string& directory) const = 0;
};

} // namespace conclave
