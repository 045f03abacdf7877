// source/megatron: see megatron_source.hpp.

#include "megatron_source.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "conclave/datakit/byte_stream.hpp"
#include "conclave/datakit/megatron.hpp"

namespace conclave::megatron {
namespace {

constexpr std::int64_t shard_bytes = 16 << 20; // of the .bin
constexpr std::int64_t index_step = 4096;      // documents whose places are held at once

/// X.idx has X.bin beside it.
std::string tokens_path(const std::string& index_path) {
  return (index_path.ends_with(".idx") ? index_path.substr(0, index_path.size() - 4) : index_path) + ".bin";
}

template <class T>
void widen(std::string_view bytes, std::vector<std::int64_t>& ids) {
  for (std::size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    ids.push_back(static_cast<std::int64_t>(value));
  }
}

void append_ids(datakit::MegatronType type, std::string_view bytes, std::vector<std::int64_t>& ids) {
  using enum datakit::MegatronType;
  switch (type) {
    case u8: return widen<std::uint8_t>(bytes, ids);
    case i8: return widen<std::int8_t>(bytes, ids);
    case i16: return widen<std::int16_t>(bytes, ids);
    case i32: return widen<std::int32_t>(bytes, ids);
    case i64: return widen<std::int64_t>(bytes, ids);
    case u16: return widen<std::uint16_t>(bytes, ids);
  }
}

class MegatronReader final : public ShardReader {
 public:
  MegatronReader(const datakit::FileEntry& file, std::int64_t begin, std::int64_t end, datakit::MegatronIndex index,
                 const MegatronOptions& options)
      : file_(file),
        document_(begin),
        end_(end),
        known_(begin),
        index_(std::move(index)),
        tokenizer_(*options.tokenizer),
        max_document_(options.max_document.value) {}

  Result<bool> next(RawDocument& out) override {
    out.clear();
    for (; document_ < end_; ++document_) {
      if (document_ == known_) {
        const std::int64_t count = std::min(index_step, end_ - document_);
        CONCLAVE_ASSIGN(sequences_, index_.read(document_, count));
        known_ += count;
        at_ = 0;
      }
      ids_.clear();
      const std::size_t first = at_;
      std::int64_t tokens = 0;
      for (; at_ < sequences_.size() && sequences_[at_].document == document_; ++at_) tokens += sequences_[at_].tokens;
      if (tokens > max_document_ / datakit::megatron_width(index_.type())) {
        ++skipped_;
        continue;
      }
      for (std::size_t i = first; i < at_; ++i) CONCLAVE_RETURN_IF_ERROR(read_ids(sequences_[i]));
      CONCLAVE_RETURN_IF_ERROR(decode(out.text));
      if (out.text.empty()) continue;
      out.id = file_.id + "#" + std::to_string(document_++);
      return true;
    }
    return false;
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  Status read_ids(const datakit::MegatronSequence& sequence) {
    const std::int64_t bytes = sequence.tokens * datakit::megatron_width(index_.type());
    const std::string path = tokens_path(file_.path);
    if (!stream_ || sequence.offset != position_) { // sequences follow each other, unless somebody shuffled them
      CONCLAVE_ASSIGN(stream_, datakit::open_stored_bytes(path, {sequence.offset, -1}));
      position_ = sequence.offset;
    }
    bytes_.resize(static_cast<std::size_t>(bytes));
    for (std::size_t filled = 0; filled < bytes_.size();) {
      CONCLAVE_ASSIGN(const std::size_t got, stream_->read(bytes_.data() + filled, bytes_.size() - filled));
      if (got == 0)
        return storage_error("the tokens end before what the index announces", "copy both files again", path);
      filled += got;
    }
    position_ += bytes;
    append_ids(index_.type(), bytes_, ids_);
    return {};
  }

  Status decode(std::string& text) {
    const SpecialTokens special = tokenizer_.special_tokens();
    tokens_.clear();
    for (const std::int64_t id : ids_) {
      if (id < 0 || id >= tokenizer_.vocabulary_size())
        return invalid("document " + std::to_string(document_) + " holds the id " + std::to_string(id) +
                           ", and the tokenizer has ids below " + std::to_string(tokenizer_.vocabulary_size()),
                       "name the tokenizer with which the data was made", tokens_path(file_.path));
      tokens_.push_back(static_cast<std::int32_t>(id));
    }
    // What marks a document's ends is no text; the host sets marks of its own.
    std::size_t begin = 0;
    if (!tokens_.empty() && special.end >= 0 && tokens_.back() == special.end) tokens_.pop_back();
    if (!tokens_.empty() && special.beginning >= 0 && tokens_.front() == special.beginning) begin = 1;
    return tokenizer_.decode(tokens_.data() + begin, tokens_.size() - begin, text);
  }

  const datakit::FileEntry& file_;      // of the source, which outlives its readers
  std::int64_t document_, end_, known_; ///< the next one; those before known_ have their places in sequences_
  datakit::MegatronIndex index_;
  const Tokenizer& tokenizer_;
  std::int64_t max_document_, skipped_ = 0;
  std::vector<datakit::MegatronSequence> sequences_;
  std::size_t at_ = 0;
  std::unique_ptr<datakit::ByteStream> stream_;
  std::int64_t position_ = 0; ///< of stream_
  std::string bytes_;
  std::vector<std::int64_t> ids_;
  std::vector<std::int32_t> tokens_;
};

} // namespace

OptionTable megatron_options() {
  OptionTableBuilder<MegatronOptions> builder;
  datakit::add_file_options(builder);
  return builder.plugin("tokenizer", &MegatronOptions::tokenizer)
      .required()
      .doc("The tokenizer with which the data was made; it turns the ids back into text.")
      .opt("max_document", &MegatronOptions::max_document)
      .range(64, 1 << 30)
      .doc("A document whose ids take more bytes is skipped.")
      .build();
}

Result<std::shared_ptr<MegatronSource>> MegatronSource::make(HostContext&, const MegatronOptions& options) {
  if (options.tokenizer->needs_training())
    return invalid("the tokenizer has yet to be trained, so that it cannot have made the data",
                   "name one that exists, e.g. tokenizer/hf-bpe with the tokenizer.json of the data");
  return std::make_shared<MegatronSource>(options);
}

MegatronSource::MegatronSource(const MegatronOptions& options)
    : options_(options), shards_([this] { return list(); }) {}

Result<std::vector<datakit::FileShard>> MegatronSource::list() const {
  CONCLAVE_ASSIGN(const auto files, datakit::list_files(options_));
  std::vector<datakit::FileShard> shards;
  for (const datakit::FileEntry& file : files) {
    const std::string tokens = tokens_path(file.path);
    CONCLAVE_ASSIGN(const auto body, datakit::list_files({.paths = {{tokens}}, .root = {}, .extensions = {}}));
    CONCLAVE_ASSIGN(const auto index, datakit::MegatronIndex::open(file.path, tokens));
    datakit::FileEntry whole = file;
    whole.digest += body.front().digest;
    whole.bytes = index.token_bytes();
    // By documents, as if all were of one length: whoever wrote them did not sort them.
    const std::int64_t parts =
        std::clamp<std::int64_t>(whole.bytes / shard_bytes, 1, std::max<std::int64_t>(index.documents(), 1));
    std::vector<std::int64_t> cuts;
    for (std::int64_t i = 0; i < parts; ++i) cuts.push_back(index.documents() / parts * i);
    cuts.push_back(index.documents());
    std::ranges::move(datakit::cut_file(whole, cuts), std::back_inserter(shards));
  }
  return shards;
}

Result<std::unique_ptr<ShardReader>> MegatronSource::open(const ShardInfo& shard) {
  CONCLAVE_ASSIGN(const datakit::FileShard* found, shards_.find(shard.id));
  const datakit::FileEntry& file = found->files.front();
  CONCLAVE_ASSIGN(auto index, datakit::MegatronIndex::open(file.path, tokens_path(file.path)));
  const std::int64_t end = std::min(found->end, index.documents());
  return std::unique_ptr<ShardReader>(
      std::make_unique<MegatronReader>(file, found->begin, end, std::move(index), options_));
}

} // namespace conclave::megatron
