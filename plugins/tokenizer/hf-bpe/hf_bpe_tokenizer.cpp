// tokenizer/hf-bpe: see hf_bpe_tokenizer.hpp.

#include "hf_bpe_tokenizer.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <utility>

#include "byte_alphabet.hpp"
#include "hf_files.hpp"
#include "nfc.hpp"
#include "special_names.hpp"
#include "whole_tokens.hpp"

namespace conclave::hf_bpe {
namespace {

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file)
    return invalid("the file cannot be opened", "check the path, or leave `file` out to train a tokenizer", path);
  const auto size = static_cast<std::streamoff>(file.tellg());
  if (size < 0 || size > static_cast<std::streamoff>(largest_file))
    return invalid("the file is larger than 256 MiB or no file", "give a tokenizer.json", path);
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file.seekg(0);
  file.read(bytes.data(), size);
  if (!file) return storage_error("the file cannot be read", "check the disk", path);
  return bytes;
}

/// The special tokens that training makes, each once, in the order of their ids.
std::vector<std::string> trained_special(const Options& options) {
  std::vector<std::string> special;
  const auto add = [&special](const std::string& name, const char* usual) {
    const std::string content = name.empty() ? usual : name;
    if (!content.empty() && std::ranges::find(special, content) == special.end()) special.push_back(content);
  };
  add(options.beginning, trained_beginning);
  add(options.end, trained_end);
  add(options.padding, trained_padding);
  add(options.unknown, "");
  for (const std::string& name : options.special) add(name, "");
  return special;
}

constexpr std::size_t longest_text = std::numeric_limits<std::int32_t>::max(); // bytes

} // namespace

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("file", &Options::file)
      .doc("A tokenizer.json to use. Left out, one is trained on the run's text.")
      .opt("match_special", &Options::match_special)
      .doc(
          "Special tokens that are written out in a text become those tokens, as Hugging Face's tokenizers has it. "
          "Off, they are text like any other.")
      .opt("beginning", &Options::beginning)
      .doc(
          "The added token that begins a text. Empty: <|begin_of_text|> or another usual name, where there is one; "
          "and the name that training gives it. So for the next three.")
      .opt("end", &Options::end)
      .doc("The added token that ends a text.")
      .opt("padding", &Options::padding)
      .doc("The added token for padding.")
      .opt("unknown", &Options::unknown)
      .doc(
          "The added token for what is unknown; a byte-level tokenizer never needs it, and training makes none by "
          "itself.")
      .opt("special", &Options::special)
      .doc("More special tokens that training makes, such as those of data.fill_in_middle.")
      .opt("vocabulary", &Options::vocabulary)
      .range(260, 1 << 20)
      .doc("Tokens to train, special ones and bytes included.")
      .choice("family", &Options::family,
              {{"gpt2", Family::gpt2},
               {"llama3", Family::llama3},
               {"qwen2", Family::qwen2},
               {"deepseek3", Family::deepseek3}})
      .doc(
          "Whose pre-tokeniser to train with: where text is cut before merges. qwen2 also brings texts to NFC, which "
          "decoding does not undo.")
      .opt("min_frequency", &Options::min_frequency)
      .range(1, std::int64_t{1} << 40)
      .doc("How often a pair must occur to become a token.")
      .build();
}

/// A tokenizer.json made ready. Immutable.
struct HfBpeTokenizer::Model {
  TokenizerFile file;
  MergeTable merges;
  std::vector<std::string> text;      ///< by id; of an id that is none, empty
  std::vector<bool> known, special;   ///< by id
  WholeTokens whole;                  ///< pieces that are one token: a table is faster than merging
  AddedTokenFinder in_raw, in_normal; ///< tokens looked for before and after normalising

  explicit Model(TokenizerFile&& read) : file(std::move(read)), merges(file.bytes, file.merges) {
    const auto size = static_cast<std::size_t>(file.size);
    text.resize(size);
    known.resize(size);
    special.resize(size);
    MergeTable::Scratch work;
    std::vector<std::int32_t> ids;
    for (const auto& [token, id] : file.vocabulary) {
      const auto at = static_cast<std::size_t>(id);
      known[at] = true;
      auto bytes = from_visible(token);
      text[at] = bytes ? std::move(*bytes) : token;
      if (!bytes || text[at].empty()) continue;
      ids.resize(text[at].size());
      if (file.ignore_merges || (merges.encode(text[at], ids.data(), work) == 1 && ids[0] == id))
        whole.add(text[at], id);
    }
    whole.build();
    std::string scratch;
    for (const AddedToken& token : file.added) {
      const auto at = static_cast<std::size_t>(token.id);
      text[at] = token.content;
      known[at] = true;
      special[at] = token.special;
      if (!token.normalized)
        in_raw.add(token.content, token);
      else
        in_normal.add(file.nfc ? to_nfc(token.content, scratch) : token.content, token);
    }
    file.merges = {}; // in the table now
    file.vocabulary = {};
  }
  Model(const Model&) = delete; // the finders point into `file`
};

/// One call of encode().
class HfBpeTokenizer::Encoder {
 public:
  Encoder(const Model& model, bool match_special, PieceCache& cache, std::vector<std::int32_t>& ids)
      : model_(model), match_special_(match_special), cache_(cache), ids_(ids) {}

  void encode(std::string_view text) {
    sections(model_.in_raw, text, [&](std::string_view raw) {
      const std::string_view normal = model_.file.nfc ? to_nfc(raw, normal_) : raw;
      sections(model_.in_normal, normal, [&](std::string_view part) { pieces(part); });
    });
    flush();
  }

 private:
  template <class Text>
  void sections(const AddedTokenFinder& finder, std::string_view text, Text&& encode_text) {
    if (finder.empty()) {
      encode_text(text);
      return;
    }
    std::vector<Section> found;
    finder.find(text, !match_special_, found);
    for (const Section& section : found) {
      if (section.id < 0)
        encode_text(section.text);
      else
        put(&section.id, 1);
    }
  }

  void pieces(std::string_view text) {
    if (text.empty()) return;
    if (model_.file.prefix_space && text.front() != ' ') {
      prefixed_.assign(1, ' ').append(text);
      text = prefixed_;
    }
    end_ = text.data() + text.size();
    model_.file.splitter.for_each(text.data(), end_, [&](const char* begin, const char* stop) {
      piece({begin, static_cast<std::size_t>(stop - begin)});
    });
  }

  void piece(std::string_view piece) {
    if (piece.size() <= decltype(cache_.short_pieces)::Key::longest)
      cached(cache_.short_pieces, piece);
    else if (piece.size() <= decltype(cache_.long_pieces)::Key::longest)
      cached(cache_.long_pieces, piece);
    else
      merged(piece);
  }

  template <class Table>
  void cached(Table& table, std::string_view piece) {
    const typename Table::Key key(piece, static_cast<std::size_t>(end_ - piece.data()));
    const std::uint64_t hash = key.hash();
    if (const auto* slot = table.find(key, hash)) {
      if (filled_ + slot->ids.size() > buffer_.size()) flush();
      std::ranges::copy(slot->ids, buffer_.begin() + static_cast<std::ptrdiff_t>(filled_)); // all: of known length
      filled_ += slot->count;
      return;
    }
    const std::size_t count = merged(piece);
    table.insert(key, hash, merged_.data(), count);
  }

  /// Leaves the ids in merged_, too, and returns how many there are.
  std::size_t merged(std::string_view piece) {
    if (merged_.size() < piece.size()) merged_.resize(piece.size());
    std::size_t count = 1;
    if (const std::int32_t id = model_.whole.find(piece); id >= 0)
      merged_[0] = id;
    else
      count = model_.merges.encode(piece, merged_.data(), cache_.scratch);
    put(merged_.data(), count);
    return count;
  }

  /// Through a small buffer: a vector that grows by a few ids at a time costs as much as finding them.
  void put(const std::int32_t* ids, std::size_t count) {
    if (filled_ + count > buffer_.size()) {
      flush();
      if (count > buffer_.size()) {
        ids_.insert(ids_.end(), ids, ids + count);
        return;
      }
    }
    std::copy_n(ids, count, buffer_.begin() + static_cast<std::ptrdiff_t>(filled_));
    filled_ += count;
  }
  void flush() {
    ids_.insert(ids_.end(), buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(filled_));
    filled_ = 0;
  }

  const Model& model_;
  const bool match_special_;
  PieceCache& cache_;
  std::vector<std::int32_t>& ids_;
  std::array<std::int32_t, 2048> buffer_;
  std::size_t filled_ = 0;
  const char* end_ = nullptr; ///< of the text whose pieces are encoded
  std::vector<std::int32_t> merged_;
  std::string normal_, prefixed_;
};

Result<std::shared_ptr<HfBpeTokenizer>> HfBpeTokenizer::make(HostContext& host, const Options& options) {
  auto made = std::make_shared<HfBpeTokenizer>(host, options);
  if (options.file.value.empty() || host.phase() == Phase::check) return made;
  CONCLAVE_ASSIGN(const std::string bytes, read_file(options.file.value));
  if (Status status = made->load(bytes); !status.ok()) {
    Error error = status.error();
    error.where = options.file.value;
    return error;
  }
  return made;
}

Status HfBpeTokenizer::train(const std::function<bool(std::string& text)>& next) {
  const auto special = trained_special(options_);
  CONCLAVE_ASSIGN(const TrainedModel model, train_model(options_, special, next, host_));
  return load(tokenizer_json(options_.family, model, special));
}

Status HfBpeTokenizer::load(std::string_view bytes) {
  CONCLAVE_ASSIGN(TokenizerFile file, read_tokenizer_json(bytes));
  CONCLAVE_ASSIGN(const SpecialTokens special, find_special_tokens(options_, file.added));
  model_ = std::make_shared<const Model>(std::move(file));
  special_ = special;
  json_ = bytes;
  caches_.clear();
  return {};
}

Status HfBpeTokenizer::ready() const {
  return model_ ? Status{} : Status{internal_error("the tokenizer is used before it is trained or loaded")};
}

std::int32_t HfBpeTokenizer::vocabulary_size() const {
  return model_ ? model_->file.size : static_cast<std::int32_t>(options_.vocabulary.value);
}

Status HfBpeTokenizer::encode(std::string_view text, std::vector<std::int32_t>& ids) const {
  CONCLAVE_RETURN_IF_ERROR(ready());
  if (text.size() > longest_text) return unsupported("a text is longer than 2 GiB", "split it");
  const auto cache = caches_.borrow();
  Encoder(*model_, options_.match_special, *cache, ids).encode(text);
  return {};
}

Status HfBpeTokenizer::decode(const std::int32_t* ids, std::size_t count, std::string& text) const {
  CONCLAVE_RETURN_IF_ERROR(ready());
  text.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const auto id = static_cast<std::size_t>(ids[i]);
    if (ids[i] < 0 || id >= model_->known.size() || !model_->known[id])
      return invalid(
          "token " + std::to_string(ids[i]) + " is not in the vocabulary of " + std::to_string(model_->file.size),
          "decode with the tokenizer that the tokens were made with");
    if (!model_->special[id]) text += model_->text[id];
  }
  return {};
}

Status HfBpeTokenizer::write(const std::string& directory) const {
  CONCLAVE_RETURN_IF_ERROR(ready());
  const auto content = [this](std::int32_t id) { return id < 0 ? "" : model_->text[static_cast<std::size_t>(id)]; };
  return write_hf_files(
      directory, json_,
      {content(special_.beginning), content(special_.end), content(special_.padding), content(special_.unknown)});
}

} // namespace conclave::hf_bpe
