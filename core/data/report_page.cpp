// What the page shows, as JSON.

#include "data/report_page.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/origins.hpp"
#include "data/stages.hpp"
#include "data/statistics.hpp"
#include "data/utf8.hpp"

namespace conclave::data {
namespace {

using nlohmann::ordered_json;

constexpr std::size_t most_texts = 100'000;
constexpr std::size_t most_shown_bytes = 4000;

/// Bytes that begin a character.
std::int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

ordered_json histogram_json(const LengthHistogram& histogram, std::size_t of) {
  return {{"documents", histogram.documents}, {"of", of}, {"longest", histogram.largest}, {"counts", histogram.counts}};
}

/// Characters of `count` texts, text i being document(i).
template <class DocumentOf>
ordered_json character_lengths(const TextStore& texts, std::size_t count, DocumentOf document) {
  LengthHistogram histogram;
  const std::size_t step = (count + most_texts - 1) / most_texts;
  for (std::size_t i = 0; i < count; i += step) histogram.add(characters(texts.document(document(i)).text));
  return histogram_json(histogram, count);
}

ordered_json sample_json(const std::string& filter, const std::string& domain, const std::string& reason,
                         const TextStore& texts, const std::vector<std::uint64_t>& documents) {
  ordered_json list = ordered_json::array();
  for (const std::uint64_t ordinal : documents) {
    const Document document = texts.document(ordinal);
    list.push_back({{"id", document.id},
                    {"url", document.url},
                    {"language", document.language},
                    {"bytes", document.text.size()},
                    {"text", utf8_prefix(document.text, most_shown_bytes)}});
  }
  return {{"filter", filter}, {"domain", domain}, {"reason", reason}, {"documents", std::move(list)}};
}

} // namespace

Result<std::string> report_page(const PrepareRequest& request, const TokenStore& store, const PrepareReport& report,
                                const std::string& name) {
  CONCLAVE_ASSIGN(const auto shards, list_shards(request));
  CONCLAVE_ASSIGN(const PreparedStages stages, open_stages(request, shards));
  ordered_json data = ordered_json::parse(to_json(report));
  data["name"] = name;
  data["lengths"] = ordered_json::array();
  data["samples"] = ordered_json::array();
  for (std::size_t d = 0; d < request.domains.size(); ++d) {
    const std::string& domain = request.domains[d].name;
    const TextStore& texts = stages.domains[d].texts;
    const auto kept = stages.selection.documents(d);
    const LengthHistogram tokens = token_lengths(store, Split::train, d);
    data["lengths"].push_back({{"domain", domain},
                               {"read", character_lengths(texts, texts.size(), [](std::size_t i) { return i; })},
                               {"kept", character_lengths(texts, kept.size(), [&](std::size_t i) { return kept[i]; })},
                               {"tokens", histogram_json(tokens, static_cast<std::size_t>(tokens.documents))}});
    for (std::size_t f = 0; f < request.filters.size(); ++f)
      for (const auto& [reason, documents] : stages.selection.samples[f][d])
        data["samples"].push_back(sample_json(request.filters[f].name, domain, reason, texts, documents));
    for (const auto& [reason, documents] : gate_samples(request, stages, d))
      data["samples"].push_back(sample_json("length-gate", domain, reason, texts, documents));
  }
  return page::make(page_parts(), data);
}

} // namespace conclave::data
