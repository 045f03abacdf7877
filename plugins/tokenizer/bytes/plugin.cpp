// tokenizer/bytes: ids 0..255 are the bytes; the special tokens follow.
//
// What this is: the tokenizer that needs nothing, for tests, for tiny models and for text of any kind. What this is not:
// UTF-8 aware; decode() gives back exactly the bytes, whatever they are.

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "conclave/host.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave::bytes {
namespace {

struct Options {
  bool beginning = true, end = true, padding = true;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("beginning", &Options::beginning)
      .doc("Reserve an id for the beginning of a text, <s>.")
      .opt("end", &Options::end)
      .doc("Reserve an id for the end of a text, </s>.")
      .opt("padding", &Options::padding)
      .doc("Reserve an id for padding, <pad>.")
      .build();
}

constexpr std::int32_t byte_count = 256;

/// The printable character by which byte-level vocabularies (GPT-2's and all since) write a byte: itself where Latin-1 has
/// a visible one, else the next free code point from U+0100 on.
std::string visible(int byte) {
  const auto shown = [](int b) { return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; };
  int code = byte;
  if (!shown(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) code += !shown(b);
  }
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

Status write_json(const std::filesystem::path& path, const nlohmann::ordered_json& json) {
  std::ofstream file(path, std::ios::trunc);
  file << json.dump(2) << '\n';
  file.close();
  if (file.fail())
    return storage_error(std::string("cannot write the file: ") + std::strerror(errno),
                         "check the folder and the space on the disk", path.string());
  return {};
}

class BytesTokenizer final : public Tokenizer {
 public:
  BytesTokenizer(HostContext&, const Options& options) {
    if (options.beginning) special_.beginning = size_++;
    if (options.end) special_.end = size_++;
    if (options.padding) special_.padding = size_++;
  }

  [[nodiscard]] bool needs_training() const override { return false; }
  Status train(const std::function<bool(std::string&)>&) override { return {}; }
  [[nodiscard]] std::string serialize() const override { return "conclave bytes " + std::to_string(size_); }
  Status load(std::string_view bytes) override {
    if (bytes == serialize()) return {};
    return invalid("the saved state is not that of a bytes tokenizer with " + std::to_string(size_) + " ids",
                   "use the options of the run that saved it");
  }

  [[nodiscard]] std::int32_t vocabulary_size() const override { return size_; }
  [[nodiscard]] SpecialTokens special_tokens() const override { return special_; }

  Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
    const std::size_t old = ids.size();
    ids.resize(old + text.size());
    for (std::size_t i = 0; i < text.size(); ++i) ids[old + i] = static_cast<unsigned char>(text[i]);
    return {};
  }

  Status decode(const std::int32_t* ids, std::size_t count, std::string& text) const override {
    text.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (ids[i] < 0 || ids[i] >= size_)
        return invalid("token " + std::to_string(ids[i]) + " is not in the vocabulary of " + std::to_string(size_),
                       "decode with the tokenizer that the tokens were made with");
      if (ids[i] < byte_count) text.push_back(static_cast<char>(ids[i])); // special tokens have no text
    }
    return {};
  }

  /// tokenizer.json of a byte-level BPE without merges, which is exactly this tokenizer, and its configuration.
  Status write(const std::string& directory) const override {
    using Json = nlohmann::ordered_json;
    Json vocabulary = Json::object(), added = Json::array(), map = Json::object();
    for (int byte = 0; byte < byte_count; ++byte) vocabulary[visible(byte)] = byte;
    const auto add = [&](const char* role, const char* content, std::int32_t id) {
      if (id < 0) return;
      map[role] = content;
      added.push_back({{"id", id},
                       {"content", content},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
    };
    add("bos_token", "<s>", special_.beginning);
    add("eos_token", "</s>", special_.end);
    add("pad_token", "<pad>", special_.padding);
    const Json byte_level = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
    const Json tokenizer = {{"version", "1.0"},
                            {"truncation", nullptr},
                            {"padding", nullptr},
                            {"added_tokens", added},
                            {"normalizer", nullptr},
                            {"pre_tokenizer", byte_level},
                            {"post_processor", nullptr},
                            {"decoder", byte_level},
                            {"model",
                             {{"type", "BPE"},
                              {"dropout", nullptr},
                              {"unk_token", nullptr},
                              {"continuing_subword_prefix", nullptr},
                              {"end_of_word_suffix", nullptr},
                              {"fuse_unk", false},
                              {"byte_fallback", false},
                              {"vocab", vocabulary},
                              {"merges", Json::array()}}}};
    Json config = map;
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    config["clean_up_tokenization_spaces"] = false;
    config["model_max_length"] = 1'000'000'000;
    const std::filesystem::path folder(directory);
    CONCLAVE_RETURN_IF_ERROR(write_json(folder / "tokenizer.json", tokenizer));
    CONCLAVE_RETURN_IF_ERROR(write_json(folder / "tokenizer_config.json", config));
    return write_json(folder / "special_tokens_map.json", map);
  }

 private:
  std::int32_t size_ = byte_count;
  SpecialTokens special_;
};

} // namespace
} // namespace conclave::bytes

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::bytes::BytesTokenizer, conclave::bytes::Options>(
    {.id = "tokenizer/bytes",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "One token a byte, with optional special tokens after them",
     .licence = "MIT"},
    conclave::bytes::table()))
