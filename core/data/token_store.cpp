// A TokenStore over the mapped files of a corpus folder.

#include "data/token_store.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "data/corpus.hpp"
#include "data/files.hpp"
#include "data/stage.hpp"

namespace conclave::data {
namespace {

struct SplitData {
  MappedFile tokens, bounds;
  std::int64_t documents = 0, count = 0, text_bytes = 0;
};

struct DomainData {
  std::string name;
  double share = 0;
  std::array<SplitData, 2> splits;
};

class MappedTokenStore final : public TokenStore {
 public:
  static Result<std::shared_ptr<const TokenStore>> open(const std::filesystem::path& directory) {
    CONCLAVE_ASSIGN(const StageManifest manifest, read_stage_manifest(directory));
    auto store = std::make_shared<MappedTokenStore>();
    store->directory_ = directory;
    try {
      CONCLAVE_RETURN_IF_ERROR(store->load(manifest.facts));
    } catch (const nlohmann::json::exception&) {
      return storage_error("the manifest is not that of a token store", "name the folder that prepare printed",
                           directory.string());
    }
    return std::shared_ptr<const TokenStore>(std::move(store));
  }

  [[nodiscard]] const std::string& digest() const override { return digest_; }
  [[nodiscard]] std::size_t domain_count() const override { return domains_.size(); }
  [[nodiscard]] const std::string& domain_name(std::size_t domain) const override { return domains_[domain].name; }
  [[nodiscard]] double share(std::size_t domain) const override { return domains_[domain].share; }
  [[nodiscard]] std::int64_t documents(Split split, std::size_t domain) const override {
    return at(split, domain).documents;
  }
  [[nodiscard]] std::int64_t tokens(Split split, std::size_t domain) const override { return at(split, domain).count; }
  [[nodiscard]] std::int64_t text_bytes(Split split, std::size_t domain) const override {
    return at(split, domain).text_bytes;
  }

  void copy(Split split, std::size_t domain, std::int64_t first, std::int64_t count, std::int32_t* out) const override {
    const auto bytes = at(split, domain).tokens.bytes();
    if (token_bytes_ == 4) {
      std::memcpy(out, bytes.data() + 4 * first, 4 * static_cast<std::size_t>(count));
    } else {
      const auto* ids = reinterpret_cast<const std::uint16_t*>(bytes.data()) + first;
      std::copy(ids, ids + count, out);
    }
  }

  [[nodiscard]] std::int64_t document_start(Split split, std::size_t domain, std::int64_t i) const override {
    return static_cast<std::int64_t>(at(split, domain).bounds.as<std::uint64_t>()[static_cast<std::size_t>(i)]);
  }
  [[nodiscard]] std::int32_t vocabulary_size() const override { return vocabulary_size_; }
  [[nodiscard]] SpecialTokens special_tokens() const override { return special_; }
  [[nodiscard]] const std::filesystem::path& directory() const override { return directory_; }

 private:
  [[nodiscard]] const SplitData& at(Split split, std::size_t domain) const {
    return domains_[domain].splits[split == Split::train ? 0 : 1];
  }

  Status load(const nlohmann::json& facts) {
    digest_ = facts.at("corpus_digest");
    vocabulary_size_ = facts.at("vocabulary_size");
    token_bytes_ = facts.at("token_bytes");
    const auto& special = facts.at("special_tokens");
    special_ = {special.at("beginning"), special.at("end"), special.at("padding"), special.at("unknown")};
    const auto& domains = facts.at("domains");
    for (std::size_t d = 0; d < domains.size(); ++d) {
      DomainData domain;
      domain.name = domains[d].at("name");
      domain.share = domains[d].at("share");
      static constexpr const char* names[] = {"train", "held_out"};
      for (std::size_t s = 0; s < 2; ++s) {
        SplitData& split = domain.splits[s];
        const auto& counts = domains[d].at(names[s]);
        split.documents = counts.at("documents");
        split.count = counts.at("tokens");
        split.text_bytes = counts.at("text_bytes");
        CONCLAVE_ASSIGN(split.tokens, MappedFile::open(directory_ / corpus_file_name(names[s], d, "tokens")));
        CONCLAVE_ASSIGN(split.bounds, MappedFile::open(directory_ / corpus_file_name(names[s], d, "bounds")));
        // Everything else relies on these sizes.
        if (split.tokens.bytes().size() !=
                static_cast<std::size_t>(split.count) * static_cast<std::size_t>(token_bytes_) ||
            split.bounds.as<std::uint64_t>().size() != static_cast<std::size_t>(split.documents) + 1)
          return storage_error("the token files do not have the sizes that the manifest says",
                               "remove the folder; prepare then makes it again", directory_.string());
      }
      domains_.push_back(std::move(domain));
    }
    return {};
  }

  std::filesystem::path directory_;
  std::string digest_;
  std::vector<DomainData> domains_;
  std::int32_t vocabulary_size_ = 0;
  int token_bytes_ = 4;
  SpecialTokens special_;
};

} // namespace

Result<std::shared_ptr<const TokenStore>> open_token_store(const std::filesystem::path& directory) {
  return MappedTokenStore::open(directory);
}

Status verify_token_store(const std::filesystem::path& directory) {
  CONCLAVE_RETURN_IF_ERROR(open_token_store(directory).status());
  return verify_stage(directory);
}

Result<std::string> read_tokenizer_state(const std::filesystem::path& directory) {
  return read_file(directory / corpus_tokenizer_name);
}

} // namespace conclave::data
