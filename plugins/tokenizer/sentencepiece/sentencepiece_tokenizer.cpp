// tokenizer/sentencepiece: see sentencepiece_tokenizer.hpp.

#include "sentencepiece_tokenizer.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "hf_files.hpp"
#include "trainer.hpp"

namespace conclave::sentencepiece_plugin {
namespace {

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file)
    return invalid("the model file cannot be opened", "check the path, or leave `model` out to train one", path);
  const auto size = static_cast<std::streamoff>(file.tellg());
  if (size < 0 || size > static_cast<std::streamoff>(largest_model))
    return invalid("the model file is larger than 64 MiB or no file", "give a SentencePiece .model file", path);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file.seekg(0);
  file.read(bytes.data(), size);
  if (!file) return storage_error("the model file cannot be read", "check the disk", path);
  return bytes;
}

} // namespace

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("model", &Options::model)
      .doc("A .model file to use. Left out, a model is trained on the run's text and the options below apply.")
      .opt("vocabulary", &Options::vocabulary)
      .range(64, 1 << 20)
      .doc("Pieces to train, special ones and bytes included.")
      .choice("algorithm", &Options::algorithm, {{"bpe", Algorithm::bpe}, {"unigram", Algorithm::unigram}})
      .doc("bpe: merges of frequent pairs. unigram: the pieces of the most probable segmentation.")
      .opt("character_coverage", &Options::character_coverage)
      .range(0.9, 1)
      .doc("Share of the text's characters that become pieces; the rest is written in bytes.")
      .opt("byte_fallback", &Options::byte_fallback)
      .doc("256 pieces for bytes, so that any text, and every newline, can be written and read back.")
      .opt("split_digits", &Options::split_digits)
      .doc("Each digit is a piece of its own.")
      .opt("add_dummy_prefix", &Options::add_dummy_prefix)
      .doc("Put a space before the text. Keep it off where text must come back byte for byte, as for code.")
      .opt("remove_extra_whitespaces", &Options::remove_extra_whitespaces)
      .doc("Reduce runs of spaces to one. Keep it off for code.")
      .opt("padding", &Options::padding)
      .doc("Reserve a piece for padding.")
      .opt("longest_piece", &Options::longest_piece)
      .range(1, 128)
      .doc("Characters of the longest piece.")
      .opt("threads", &Options::threads)
      .range(1, 256)
      .doc(
          "Threads of the training. Not taken from the machine: for unigram the order of additions, and so the last "
          "bits of "
          "the scores, depend on it.")
      .validate([](const Options& options, OptionReport& report) {
        const int reserved = 3 + (options.padding ? 1 : 0) + (options.byte_fallback ? 256 : 0);
        if (options.model.value.empty() && options.vocabulary <= reserved)
          report.error("vocabulary",
                       "it leaves no room beside the " + std::to_string(reserved) + " special and byte pieces",
                       "give more, e.g. 4096");
      })
      .build();
}

SentencePieceTokenizer::SentencePieceTokenizer(HostContext& host, const Options& options)
    : host_(host), options_(options) {}
SentencePieceTokenizer::~SentencePieceTokenizer() = default;

Result<std::shared_ptr<SentencePieceTokenizer>> SentencePieceTokenizer::make(HostContext& host,
                                                                             const Options& options) {
  auto made = std::make_shared<SentencePieceTokenizer>(host, options);
  if (options.model.value.empty() || host.phase() == Phase::check) return made;
  CONCLAVE_ASSIGN(const std::string bytes, read_file(options.model.value));
  if (Status status = made->load(bytes); !status.ok()) {
    Error error = status.error();
    error.where = options.model.value;
    return error;
  }
  return made;
}

Status SentencePieceTokenizer::train(const std::function<bool(std::string& text)>& next) {
  CONCLAVE_ASSIGN(const std::string model, train_model(options_, next, host_));
  return load(model);
}

Status SentencePieceTokenizer::load(std::string_view bytes) {
  std::string model(bytes);
  CONCLAVE_ASSIGN(ModelFacts facts, read_model(model));
  auto processor = std::make_unique<sentencepiece::SentencePieceProcessor>();
  if (const auto status = processor->LoadFromSerializedProto(model); !status.ok())
    return invalid(std::string("the SentencePiece model cannot be used: ") + status.error_message(),
                   "give a .model file that spm_train wrote");
  if (static_cast<std::size_t>(processor->GetPieceSize()) != facts.pieces.size())
    return invalid("the SentencePiece model cannot be used: its pieces are read in two ways",
                   "give a .model file that spm_train wrote");
  processor_ = std::move(processor);
  model_.swap(model); // the views of `facts` into a long string stay valid
  CONCLAVE_ASSIGN(facts_, read_model(model_));
  plan_ = plan_segments(facts_);
  special_ = {processor_->bos_id(), processor_->eos_id(), processor_->pad_id(), processor_->unk_id()};
  caches_.clear();
  return {};
}

Status SentencePieceTokenizer::ready() const {
  return processor_ ? Status{} : Status{internal_error("the tokenizer is used before it is trained or loaded")};
}

std::int32_t SentencePieceTokenizer::vocabulary_size() const {
  return processor_ ? static_cast<std::int32_t>(facts_.pieces.size())
                    : static_cast<std::int32_t>(options_.vocabulary.value);
}

Status SentencePieceTokenizer::encode_whole(std::string_view text, std::vector<int>& ids) const {
  const auto status = processor_->Encode(text, &ids);
  return status.ok() ? Status{}
                     : Status{internal_error(std::string("SentencePiece could not encode: ") + status.error_message())};
}

Status SentencePieceTokenizer::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  CONCLAVE_RETURN_IF_ERROR(ready());
  std::vector<int> part;
  if (!plan_ || has_space_mark(text)) {
    CONCLAVE_RETURN_IF_ERROR(encode_whole(text, part));
    ids.insert(ids.end(), part.begin(), part.end());
    return {};
  }
  const auto cache = caches_.borrow();
  while (!text.empty()) {
    const std::string_view word = text.substr(0, segment_length(text, *plan_));
    text.remove_prefix(word.size());
    const bool keep = word.size() <= EncodeCache::longest_key;
    if (keep) {
      if (const auto* known = cache->find(word)) {
        ids.insert(ids.end(), known->begin(), known->end());
        continue;
      }
    }
    CONCLAVE_RETURN_IF_ERROR(encode_whole(word, part));
    ids.insert(ids.end(), part.begin(), part.end());
    if (keep) cache->insert(word, part);
  }
  return {};
}

Status SentencePieceTokenizer::decode(const std::int32_t* ids, std::size_t count, std::string& text) const {
  CONCLAVE_RETURN_IF_ERROR(ready());
  const std::vector<int> copy(ids, ids + count);
  const auto size = vocabulary_size();
  const auto outside = std::ranges::find_if(copy, [size](int id) { return id < 0 || id >= size; });
  if (outside != copy.end())
    return invalid("token " + std::to_string(*outside) + " is not in the vocabulary of " + std::to_string(size),
                   "decode with the tokenizer that the tokens were made with");
  const auto status = processor_->Decode(copy, &text);
  return status.ok() ? Status{}
                     : Status{internal_error(std::string("SentencePiece could not decode: ") + status.error_message())};
}

Status SentencePieceTokenizer::write(const std::string& directory) const {
  CONCLAVE_RETURN_IF_ERROR(ready());
  const auto piece = [this](std::int32_t id) { return id < 0 ? std::string{} : processor_->IdToPiece(id); };
  return write_hf_files(
      directory, model_, facts_,
      {piece(special_.unknown), piece(special_.beginning), piece(special_.end), piece(special_.padding)});
}

} // namespace conclave::sentencepiece_plugin
