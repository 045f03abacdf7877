// tokenizer/hf-bpe: byte-level BPE as Hugging Face's tokenizers does it, trained in the run or given as a tokenizer.json.
//
// Threading: as tokenizer.hpp asks: encode() and decode() are const and may run on many threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "conclave/host.hpp"
#include "conclave/tokenizer.hpp"
#include "options.hpp"
#include "piece_cache.hpp"
#include "tokenizer_json.hpp"

namespace conclave::hf_bpe {

class HfBpeTokenizer final : public Tokenizer {
 public:
  /// Reads the file, where one is given and the phase allows.
  static Result<std::shared_ptr<HfBpeTokenizer>> make(HostContext& host, const Options& options);
  HfBpeTokenizer(HostContext& host, const Options& options) : host_(host), options_(options) {}

  [[nodiscard]] bool needs_training() const override { return !model_ && options_.file.value.empty(); }
  Status train(const std::function<bool(std::string& text)>& next) override;
  /// The tokenizer.json, byte for byte.
  [[nodiscard]] std::string serialize() const override { return json_; }
  Status load(std::string_view bytes) override;
  /// Before training: the size that was asked for.
  [[nodiscard]] std::int32_t vocabulary_size() const override;
  [[nodiscard]] SpecialTokens special_tokens() const override { return special_; }
  /// Bytes that are no UTF-8 are encoded as bytes, each a character of no class to the pre-tokeniser.
  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override;
  /// Special tokens have no text.
  Status decode(const std::int32_t* ids, std::size_t count, std::string& text) const override;
  Status write(const std::string& directory) const override;

 private:
  struct Model;
  class Encoder;

  [[nodiscard]] Status ready() const;

  HostContext& host_;
  Options options_;
  std::string json_;
  std::shared_ptr<const Model> model_; ///< null until trained or loaded
  SpecialTokens special_;
  mutable PieceCachePool caches_;
};

} // namespace conclave::hf_bpe
