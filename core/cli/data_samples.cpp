// Texts as the model gets them, with their provenance: the text's id, URL and language, and the filters' columns.

#include <algorithm>
#include <bit>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/data_views.hpp"
#include "data/feistel.hpp"
#include "data/origins.hpp"
#include "data/stages.hpp"
#include "data/utf8.hpp"
#include "plugin/guard.hpp"

namespace conclave {
namespace {

using nlohmann::ordered_json;

ordered_json cell_json(const data::ColumnStore& columns, std::size_t column, std::uint64_t document) {
  const std::uint64_t cell = columns.cell(column, document);
  switch (columns.specs()[column].type) {
    case ColumnType::real: return std::bit_cast<double>(cell);
    case ColumnType::integer: return static_cast<std::int64_t>(cell);
    case ColumnType::bits64: break;
  }
  char hexadecimal[24];
  std::snprintf(hexadecimal, sizeof hexadecimal, "%016llx", static_cast<unsigned long long>(cell));
  return hexadecimal;
}

class Sampler {
 public:
  Sampler(const data::PrepareRequest& request, const PreparedData& prepared, const data::PreparedStages& stages)
      : request_(request), prepared_(prepared), store_(*prepared.store), stages_(stages) {}

  /// Documents that a pseudo-random order of the domain begins with.
  Result<ordered_json> documents(std::size_t domain, data::Split split, std::int64_t count) const {
    const std::int64_t all = store_.documents(split, domain);
    std::vector<std::int64_t> chosen;
    if (all > 0) {
      const data::Permutation order(static_cast<std::uint64_t>(all), RandomStream(0, "data/sample"), 0);
      for (std::int64_t i = 0; i < std::min(all, count); ++i)
        chosen.push_back(static_cast<std::int64_t>(order(static_cast<std::uint64_t>(i))));
      std::sort(chosen.begin(), chosen.end());
    }
    const auto origins = data::find_origins(request_, stages_, domain, split, chosen);
    ordered_json samples = ordered_json::array();
    for (std::size_t i = 0; i < origins.size(); ++i) {
      const std::int64_t first = store_.document_start(split, domain, chosen[i]);
      std::vector<std::int32_t> ids(
          static_cast<std::size_t>(store_.document_start(split, domain, chosen[i] + 1) - first));
      store_.copy(split, domain, first, static_cast<std::int64_t>(ids.size()), ids.data());
      ordered_json sample = {{"domain", store_.domain_name(domain)},
                             {"split", split == data::Split::train ? "train" : "held_out"},
                             {"document", chosen[i]},
                             {"tokens", ids.size()},
                             {"from", ordered_json::array({origin_json(domain, origins[i])})}};
      CONCLAVE_ASSIGN(sample["text"], decode(ids));
      samples.push_back(std::move(sample));
    }
    return samples;
  }

  /// Sequences of a batch in their order, the first `count` of `only` (or of all).
  Result<ordered_json> sequences(std::int64_t batch, const std::string& only, std::int64_t count) const {
    const data::HostStep step = prepared_.plan->build(batch);
    const data::StepPlan plan = prepared_.plan->plan(batch);
    ordered_json samples = ordered_json::array();
    for (std::size_t m = 0; m < plan.micro_steps.size(); ++m) {
      const data::HostMicroBatch& micro = step.micro_batches[m];
      for (std::size_t row = 0; row < plan.micro_steps[m].samples.size(); ++row) {
        const data::SampleId& id = plan.micro_steps[m].samples[row];
        const std::string& name = store_.domain_name(id.domain);
        if (static_cast<std::int64_t>(samples.size()) == count) return samples;
        if (!only.empty() && only != name) continue;
        std::vector<std::int32_t> ids;
        for (std::int64_t t = 0; t < micro.length; ++t) {
          const auto at = static_cast<std::size_t>(static_cast<std::int64_t>(row) * micro.length + t);
          if (micro.token_mask.empty() || micro.token_mask[at] != 0)
            ids.push_back(static_cast<std::int32_t>(micro.tokens[at]));
        }
        const std::vector<std::int64_t> documents = prepared_.plan->documents(batch, id);
        ordered_json from = ordered_json::array();
        for (const auto& origin : origins_of(id.domain, documents)) from.push_back(origin_json(id.domain, origin));
        ordered_json sample = {{"domain", name},
                               {"split", "train"},
                               {"batch", batch},
                               {"pass", id.pass},
                               {"sample", id.sample},
                               {"tokens", ids.size()},
                               {"padded_to", micro.length},
                               {"from", std::move(from)}};
        CONCLAVE_ASSIGN(sample["text"], decode(ids));
        samples.push_back(std::move(sample));
      }
    }
    return samples;
  }

 private:
  /// In the order of `documents`, which may be any.
  [[nodiscard]] std::vector<data::Origin> origins_of(std::size_t domain,
                                                     const std::vector<std::int64_t>& documents) const {
    std::vector<std::int64_t> sorted = documents;
    std::sort(sorted.begin(), sorted.end());
    const auto found = data::find_origins(request_, stages_, domain, data::Split::train, sorted);
    std::map<std::int64_t, data::Origin> by_document;
    for (std::size_t i = 0; i < found.size(); ++i) by_document[sorted[i]] = found[i];
    std::vector<data::Origin> origins;
    for (const std::int64_t document : documents) origins.push_back(by_document.at(document));
    return origins;
  }

  [[nodiscard]] ordered_json origin_json(std::size_t domain, const data::Origin& origin) const {
    const Document document = stages_.domains[domain].texts.document(origin.document);
    ordered_json columns = ordered_json::object();
    for (std::size_t f = 0; f < request_.filters.size(); ++f) {
      const data::ColumnStore& store = stages_.columns[f][domain];
      for (std::size_t c = 0; c < store.specs().size(); ++c)
        columns[request_.filters[f].name][store.specs()[c].name] = cell_json(store, c, origin.document);
    }
    ordered_json json = {{"id", document.id}, {"text", origin.document}, {"bytes", document.text.size()}};
    if (!document.url.empty()) json["url"] = document.url;
    if (!document.language.empty()) json["language"] = document.language;
    if (origin.pieces > 1) json["piece"] = {origin.piece, origin.pieces};
    json["columns"] = std::move(columns);
    return json;
  }

  [[nodiscard]] Result<std::string> decode(const std::vector<std::int32_t>& ids) const {
    std::string text;
    CONCLAVE_RETURN_IF_ERROR(guard(request_.tokenizer_id.c_str(), "decode",
                                   [&] { return request_.tokenizer->decode(ids.data(), ids.size(), text); }));
    return data::repair_utf8(text); // a piece may begin or end inside of a character
  }

  const data::PrepareRequest& request_;
  const PreparedData& prepared_;
  const data::TokenStore& store_;
  const data::PreparedStages& stages_;
};

/// For a terminal: each line behind a bar, and what would move the cursor as a dot.
std::string quoted(const std::string& text) {
  std::string out = "  | ";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      out += "\n  | ";
    else
      out += (byte < 0x20 && c != '\t') || byte == 0x7f ? '.' : c;
  }
  return out + "\n";
}

} // namespace

Result<ordered_json> sample_corpus(const DataSession& session, const PreparedData& prepared,
                                   const SampleRequest& request) {
  const data::TokenStore& store = *prepared.store;
  std::vector<std::size_t> domains;
  for (std::size_t d = 0; d < store.domain_count(); ++d)
    if (request.domain.empty() || request.domain == store.domain_name(d)) domains.push_back(d);
  if (domains.empty())
    return invalid("the experiment has no domain '" + request.domain + "'", "see its data.domains", "--domain");
  CONCLAVE_ASSIGN(const auto shards, data::list_shards(session.request()));
  CONCLAVE_ASSIGN(const auto stages, data::open_stages(session.request(), shards));
  const Sampler sampler(session.request(), prepared, stages);
  if (request.batch >= 0) return sampler.sequences(request.batch, request.domain, request.count);
  ordered_json samples = ordered_json::array();
  for (const std::size_t domain : domains) {
    CONCLAVE_ASSIGN(
        ordered_json of_domain,
        sampler.documents(domain, request.held_out ? data::Split::held_out : data::Split::train, request.count));
    for (auto& sample : of_domain) samples.push_back(std::move(sample));
  }
  return samples;
}

std::string sample_text(const ordered_json& view) {
  std::string text;
  for (const auto& sample : view) {
    text += sample.at("domain").get<std::string>() + " " + sample.at("split").get<std::string>();
    if (sample.contains("batch"))
      text += ", batch " + sample.at("batch").dump() + ", sample " + sample.at("sample").dump() + " of pass " +
              sample.at("pass").dump();
    else
      text += ", document " + sample.at("document").dump();
    text += ", " + sample.at("tokens").dump() + " tokens\n";
    for (const auto& from : sample.at("from")) {
      text += "  from " + from.at("id").get<std::string>();
      if (from.contains("url")) text += ", " + from.at("url").get<std::string>();
      if (from.contains("language")) text += ", language " + from.at("language").get<std::string>();
      if (from.contains("piece"))
        text += ", piece " + std::to_string(from.at("piece")[0].get<int>() + 1) + " of " + from.at("piece")[1].dump();
      text += "\n";
      for (const auto& [filter, columns] : from.at("columns").items()) {
        text += "    " + filter + ":";
        for (const auto& [name, value] : columns.items())
          text += " " + name + " " + (value.is_string() ? value.get<std::string>() : value.dump());
        text += "\n";
      }
    }
    text += quoted(sample.at("text").get<std::string>());
  }
  return text;
}

} // namespace conclave
