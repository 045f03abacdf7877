// tokenizer/sentencepiece: BPE or unigram pieces, trained in the run or given as a .model file.
//
// Threading: as tokenizer.hpp asks: encode() and decode() are const and may run on many threads.
#pragma once

#include <memory>
#include <optional>

#include "conclave/host.hpp"
#include "conclave/tokenizer.hpp"
#include "encode_cache.hpp"
#include "model_proto.hpp"
#include "options.hpp"
#include "segments.hpp"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace conclave::sentencepiece_plugin {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  /// Reads the model file, where one is given and the phase allows.
  static Result<std::shared_ptr<SentencePieceTokenizer>> make(HostContext& host, const Options& options);
  SentencePieceTokenizer(HostContext& host, const Options& options);
  ~SentencePieceTokenizer() override;

  [[nodiscard]] bool needs_training() const override { return !processor_ && options_.model.value.empty(); }
  Status train(const std::function<bool(std::string& text)>& next) override;
  [[nodiscard]] std::string serialize() const override { return model_; }
  Status load(std::string_view bytes) override;
  /// Before training: the size that was asked for.
  [[nodiscard]] std::int32_t vocabulary_size() const override;
  [[nodiscard]] SpecialTokens special_tokens() const override { return special_; }
  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override;
  Status decode(const std::int32_t* ids, std::size_t count, std::string& text) const override;
  Status write(const std::string& directory) const override;

 private:
  [[nodiscard]] Status ready() const;
  Status encode_whole(std::string_view text, std::vector<int>& ids) const;

  HostContext& host_;
  Options options_;
  std::string model_; ///< serialised; facts_ views it
  ModelFacts facts_;
  std::optional<SegmentPlan> plan_;
  SpecialTokens special_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_; ///< null until trained or loaded
  mutable EncodeCachePool caches_;
};

} // namespace conclave::sentencepiece_plugin
