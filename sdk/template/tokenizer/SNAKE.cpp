// @ID@: one token for each byte, as a start. Say here what yours is and is not.

#include <filesystem>
#include <fstream>

#include "conclave/tokenizer.hpp"

namespace {

struct Options {
  bool end_token = true;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("end_token", &Options::end_token)
      .doc("Adds a token with id 256 that ends a document.")
      .build();
}

class @CLASS@ final : public conclave::Tokenizer {
 public:
  @CLASS@(conclave::HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] bool needs_training() const override { return false; }
  conclave::Status train(const std::function<bool(std::string& text)>&) override { return {}; }

  /// All state there is; checkpoints keep it.
  [[nodiscard]] std::string serialize() const override { return "@ID@ 1"; }
  conclave::Status load(std::string_view bytes) override {
    if (bytes == serialize()) return {};
    return conclave::storage_error("these bytes were not written by @ID@ 1");
  }

  [[nodiscard]] std::int32_t vocabulary_size() const override { return options_.end_token ? 257 : 256; }
  [[nodiscard]] conclave::SpecialTokens special_tokens() const override { return {.end = options_.end_token ? 256 : -1}; }

  conclave::Status encode(std::string_view text, std::vector<std::int32_t>& ids) const override {
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return {};
  }

  conclave::Status decode(const std::int32_t* ids, std::size_t count, std::string& text) const override {
    text.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (ids[i] < 0 || ids[i] >= vocabulary_size())
        return conclave::invalid("token " + std::to_string(ids[i]) + " is not in the vocabulary of " + std::to_string(vocabulary_size()));
      if (ids[i] < 256) text += static_cast<char>(ids[i]); // the end token has no text
    }
    return {};
  }

  conclave::Status write(const std::string& directory) const override {
    std::ofstream out(std::filesystem::path(directory) / "tokenizer_config.json");
    out << "{\"tokenizer_class\": \"@CLASS@\"}\n";
    out.close();
    if (!out) return conclave::storage_error("cannot be written", "check the folder's rights and free space", directory);
    return {};
  }

 private:
  Options options_;
};

} // namespace

// Raise output_revision whenever the same text gives other ids: caches key on it.
CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS@, Options>(
    {.id = "@ID@", .version = "0.1.0", .output_revision = 1, .summary = "One token for each byte.", .licence = "MIT"}, table()))
