// Training of a SentencePiece model: see trainer.hpp.

#include "trainer.hpp"

#include <sentencepiece_trainer.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace conclave::sentencepiece_plugin {
namespace {

constexpr std::size_t longest_sentence = 16 << 10; // bytes; longer lines are cut, never lost

/// Texts as lines. SentencePiece learns within a line, so a newline is never a part of a piece; it is encoded by its byte.
class Lines final : public sentencepiece::SentenceIterator {
 public:
  Lines(const std::function<bool(std::string& text)>& next, std::stop_token stop)
      : next_(next), stop_(std::move(stop)) {
    Next();
  }

  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }
  void Next() override {
    while (!done_) {
      if (position_ >= text_.size()) {
        position_ = 0;
        if (stop_.stop_requested() || !next_(text_)) {
          done_ = true;
          return;
        }
        continue;
      }
      const std::size_t end = std::min(text_.find('\n', position_), text_.size());
      std::size_t length = end - position_;
      std::size_t skip = 1; // the newline
      if (length > longest_sentence) {
        length = cut(std::string_view(text_).substr(position_, longest_sentence));
        skip = 0;
      }
      line_.assign(text_, position_, length);
      position_ += length + skip;
      if (line_.empty()) continue;
      bytes_ += line_.size();
      return;
    }
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  /// Where to cut a long line: before its last space, else between two characters.
  static std::size_t cut(std::string_view text) {
    const std::size_t space = text.rfind(' ');
    if (space != std::string_view::npos && space > 0) return space;
    std::size_t length = text.size();
    for (int back = 0; back < 4 && length > 1; ++back, --length)
      if ((static_cast<unsigned char>(text[length - 1]) & 0xC0) != 0x80) return length - 1;
    return text.size();
  }

  const std::function<bool(std::string& text)>& next_;
  std::stop_token stop_;
  std::string text_, line_;
  std::size_t position_ = 0, bytes_ = 0;
  bool done_ = false;
};

const char* flag(bool value) { return value ? "true" : "false"; }

std::unordered_map<std::string, std::string> arguments(const Options& options) {
  return {
      {"model_type", options.algorithm == Algorithm::bpe ? "bpe" : "unigram"},
      {"vocab_size", std::to_string(options.vocabulary.value)},
      {"character_coverage", std::to_string(options.character_coverage)},
      {"byte_fallback", flag(options.byte_fallback)},
      {"split_digits", flag(options.split_digits)},
      {"max_sentencepiece_length", std::to_string(options.longest_piece)},
      {"num_threads", std::to_string(options.threads)},
      // Text comes back byte for byte: no character map, spaces as they are, runs of spaces may be pieces.
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", flag(options.add_dummy_prefix)},
      {"remove_extra_whitespaces", flag(options.remove_extra_whitespaces)},
      {"allow_whitespace_only_pieces", "true"},
      {"max_sentence_length", std::to_string(4 * longest_sentence)},
      {"input_sentence_size", "0"}, // the host samples; nothing is drawn here
      {"shuffle_input_sentence", "false"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", options.padding ? "3" : "-1"},
      {"minloglevel", "4"},
  };
}

} // namespace

Result<std::string> train_model(const Options& options, const std::function<bool(std::string& text)>& next,
                                HostContext& host) {
  const auto start = std::chrono::steady_clock::now();
  Lines lines(next, host.stop_token());
  if (lines.done())
    return invalid("there is no text to train the tokenizer on", "check the sources and filters of the domains");
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments(options), &lines, &model);
  if (host.stop_token().stop_requested())
    return Error{Code::stopped, {}, "the training of the tokenizer was stopped", {}};
  if (!status.ok()) {
    return invalid("SentencePiece could not train " + std::to_string(options.vocabulary.value) + " pieces on " +
                       std::to_string(lines.bytes()) + " bytes: " + status.error_message(),
                   "lower `vocabulary`, or give more text (data.tokenizer_sample)");
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  char text[160];
  std::snprintf(text, sizeof text, "trained %lld pieces on %.1f MB of text in %.1f s",
                static_cast<long long>(options.vocabulary.value), static_cast<double>(lines.bytes()) / 1e6,
                seconds.count());
  host.log(LogLevel::info, text);
  return model;
}

} // namespace conclave::sentencepiece_plugin
