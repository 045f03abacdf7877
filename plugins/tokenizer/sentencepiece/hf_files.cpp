// Hugging Face tokenizer files: see hf_files.hpp.

#include "hf_files.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace conclave::sentencepiece_plugin {
namespace {

Status write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  if (file.fail()) {
    return storage_error(std::string("cannot write the file: ") + std::strerror(errno),
                         "check the folder and the space on the disk", path.string());
  }
  return {};
}

} // namespace

Status write_hf_files(const std::string& directory, const std::string& model, const ModelFacts& facts,
                      const SpecialPieces& special) {
  const std::filesystem::path folder(directory);
  nlohmann::ordered_json map;
  const auto add = [&map](const char* name, const std::string& piece) {
    if (!piece.empty()) map[name] = piece;
  };
  add("bos_token", special.beginning);
  add("eos_token", special.end);
  add("unk_token", special.unknown);
  add("pad_token", special.padding);

  nlohmann::ordered_json config = map;
  config["tokenizer_class"] = "LlamaTokenizer";
  config["model_max_length"] = 1'000'000'000;
  config["add_bos_token"] = false; // encode() adds none either
  config["add_eos_token"] = false;
  config["add_prefix_space"] = facts.add_dummy_prefix;
  config["legacy"] = false;
  config["clean_up_tokenization_spaces"] = false;
  config["spaces_between_special_tokens"] = false;
  config["sp_model_kwargs"] = nlohmann::json::object();

  CONCLAVE_RETURN_IF_ERROR(write_file(folder / "tokenizer.model", model));
  CONCLAVE_RETURN_IF_ERROR(write_file(folder / "tokenizer_config.json", config.dump(2) + "\n"));
  return write_file(folder / "special_tokens_map.json", map.dump(2) + "\n");
}

} // namespace conclave::sentencepiece_plugin
