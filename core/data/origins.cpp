// The gate's rule, gone through once more.

#include "data/origins.hpp"

#include "data/drop_sample.hpp"
#include "data/gate.hpp"

namespace conclave::data {

std::vector<Origin> find_origins(const PrepareRequest& request, const PreparedStages& stages, std::size_t domain,
                                 Split split, std::span<const std::int64_t> documents) {
  const auto kept = stages.selection.documents(domain);
  const auto lengths = stages.tokenised[domain].lengths.as<std::uint32_t>();
  const GateRule rule(request, stages.domains[domain].texts, kept, lengths);
  std::vector<Origin> origins;
  std::int64_t next = 0; // document of the split
  for (std::size_t i = 0; i < kept.size() && origins.size() < documents.size(); ++i) {
    if (rule.refusal(lengths[i]) != nullptr || rule.held_out(i) != (split == Split::held_out)) continue;
    const auto pieces = static_cast<std::int64_t>(rule.pieces(lengths[i]));
    while (origins.size() < documents.size() && documents[origins.size()] < next + pieces)
      origins.push_back(
          {kept[i], static_cast<std::uint64_t>(documents[origins.size()] - next), static_cast<std::uint64_t>(pieces)});
    next += pieces;
  }
  return origins;
}

std::map<std::string, std::vector<std::uint64_t>> gate_samples(const PrepareRequest& request,
                                                               const PreparedStages& stages, std::size_t domain) {
  const auto kept = stages.selection.documents(domain);
  const auto lengths = stages.tokenised[domain].lengths.as<std::uint32_t>();
  const TextStore& texts = stages.domains[domain].texts;
  const GateRule rule(request, texts, kept, lengths);
  DropSamples samples;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const char* reason = rule.refusal(lengths[i]);
    if (reason == nullptr && rule.stored(lengths[i]) < lengths[i]) reason = "cut";
    if (reason != nullptr) samples[reason].offer(texts.hash(kept[i]), kept[i]);
  }
  std::map<std::string, std::vector<std::uint64_t>> documents;
  for (const auto& [reason, sample] : samples) documents[reason] = sample.documents();
  return documents;
}

} // namespace conclave::data
