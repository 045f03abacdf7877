// The corpus folder: what prepare() hands over, as one stage that holds every domain's splits and the tokenizer's state.
//
// Its big files are hard links to those of the gate stage, so a changed share or name copies nothing. What this is not:
// reading it (token_store.cpp).
//
// Threading: one thread at a time.
#pragma once

#include <string>
#include <vector>

#include "conclave/tokenizer.hpp"
#include "data/stages.hpp"
#include "data/units.hpp"

namespace conclave::data {

/// File names inside the folder: `train-00002.tokens`.
std::string corpus_file_name(const std::string& split, std::size_t domain, const std::string& kind);
inline constexpr const char* corpus_tokenizer_name = "tokenizer.state";

struct CorpusParts {
  std::vector<GatedDomain> domains;
  SpecialTokens special;
  std::int32_t vocabulary_size = 0;
  std::string tokenizer_state;
};
/// Links the parts into the folder; the report is among the facts.
Result<StageOutput> write_corpus(const std::filesystem::path& directory, const PrepareRequest& request,
                                 const CorpusParts& parts, const PrepareReport& report);

/// The report that write_corpus() kept.
PrepareReport corpus_report(const nlohmann::json& facts);

} // namespace conclave::data
