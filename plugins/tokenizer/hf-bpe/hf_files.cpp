// Hugging Face tokenizer files: see hf_files.hpp.

#include "hf_files.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "families.hpp"

namespace conclave::hf_bpe {
namespace {

using Json = nlohmann::ordered_json;

Status write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  if (file.fail())
    return storage_error(std::string("cannot write the file: ") + std::strerror(errno),
                         "check the folder and the space on the disk", path.string());
  return {};
}

/// The vocabulary object. Not built as JSON: an ordered object looks for each new key among all that it has.
std::string vocabulary_text(const std::vector<std::string>& tokens) {
  std::string text = "{";
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (id > 0) text += ',';
    text += Json(tokens[id]).dump() + ":" + std::to_string(id);
  }
  return text + "}";
}

} // namespace

std::string tokenizer_json(Family family, const TrainedModel& model, const std::vector<std::string>& special) {
  Json added = Json::array(), merges = Json::array();
  for (std::size_t id = 0; id < special.size(); ++id)
    added.push_back({{"id", id},
                     {"content", special[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  for (const auto& [left, right] : model.merges)
    merges.push_back({model.tokens[static_cast<std::size_t>(left)], model.tokens[static_cast<std::size_t>(right)]});
  const Json decoder = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  const Json head = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", normalizer_json(family)},
                     {"pre_tokenizer", pre_tokenizer_json(family)},
                     {"post_processor", nullptr},
                     {"decoder", decoder}};
  const Json bpe = {{"type", "BPE"},
                    {"dropout", nullptr},
                    {"unk_token", nullptr},
                    {"continuing_subword_prefix", nullptr},
                    {"end_of_word_suffix", nullptr},
                    {"fuse_unk", false},
                    {"byte_fallback", false},
                    {"ignore_merges", false}};
  std::string text = head.dump(), inner = bpe.dump();
  text.pop_back(); // the closing braces
  inner.pop_back();
  return text + ",\"model\":" + inner + ",\"vocab\":" + vocabulary_text(model.tokens) + ",\"merges\":" + merges.dump() +
         "}}\n";
}

Status write_hf_files(const std::string& directory, const std::string& tokenizer, const SpecialContents& special) {
  const std::filesystem::path folder(directory);
  Json map = Json::object();
  const auto add = [&map](const char* name, const std::string& content) {
    if (!content.empty()) map[name] = content;
  };
  add("bos_token", special.beginning);
  add("eos_token", special.end);
  add("unk_token", special.unknown);
  add("pad_token", special.padding);
  Json config = map;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["model_max_length"] = 1'000'000'000;
  config["clean_up_tokenization_spaces"] = false;
  CONCLAVE_RETURN_IF_ERROR(write_file(folder / "tokenizer.json", tokenizer));
  CONCLAVE_RETURN_IF_ERROR(write_file(folder / "tokenizer_config.json", config.dump(2) + "\n"));
  return write_file(folder / "special_tokens_map.json", map.dump(2) + "\n");
}

} // namespace conclave::hf_bpe
