// Views of a corpus as a whole: what there is, how long, in which shares.

#include "cli/data_views.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "data/share_audit.hpp"
#include "data/statistics.hpp"
#include "run/assemble.hpp"

namespace conclave {
namespace {

using nlohmann::ordered_json;

/// JSON knows no NaN.
ordered_json number(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr); }

ordered_json split_json(const data::TokenStore& store, data::Split split, std::size_t domain) {
  return {{"documents", store.documents(split, domain)},
          {"tokens", store.tokens(split, domain)},
          {"text_bytes", store.text_bytes(split, domain)}};
}

std::string line(const char* format, auto... values) {
  char text[512];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

long long whole(const ordered_json& json) { return json.get<long long>(); }

/// Of "first:end".
Result<std::pair<std::int64_t, std::int64_t>> batch_range(const std::string& text) {
  std::int64_t first = 0, end = 0;
  const char *at = text.data(), *last = at + text.size();
  const auto one = std::from_chars(at, last, first);
  const bool colon = one.ec == std::errc{} && one.ptr != last && *one.ptr == ':';
  const auto two = colon ? std::from_chars(one.ptr + 1, last, end) : one;
  if (!colon || two.ec != std::errc{} || two.ptr != last || first < 0 || end <= first)
    return invalid("'" + text + "' is no range of batches", "write first:end, such as 0:1000", "--batches");
  return std::pair(first, end);
}

ordered_json audit_json(const data::ShareAudit& audit, const data::TokenStore& store) {
  ordered_json domains = ordered_json::array();
  for (std::size_t d = 0; d < audit.domains.size(); ++d) {
    const data::DomainShare& share = audit.domains[d];
    domains.push_back({{"name", store.domain_name(d)},
                       {"sequences", share.sequences},
                       {"exact", share.exact},
                       {"worst_batch", share.worst_batch},
                       {"tokens", share.tokens},
                       {"passes_before", share.passes_before},
                       {"passes_after", share.passes_after}});
  }
  return {{"first", audit.first}, {"end", audit.end}, {"sequences", audit.sequences}, {"domains", std::move(domains)}};
}

std::string audit_text(const ordered_json& audit) {
  std::string text = line("batches %lld to %lld: %lld sequences\n", whole(audit.at("first")),
                          whole(audit.at("end")) - 1, whole(audit.at("sequences")));
  text += line("  %-16s %12s %14s %10s %12s %14s %s\n", "domain", "sequences", "exact", "error", "in a batch", "tokens",
               "passes");
  for (const auto& domain : audit.at("domains")) {
    const double exact = domain.at("exact"), counted = domain.at("sequences");
    text += line("  %-16s %12lld %14.2f %+10.2f %12.2f %14lld %.3f to %.3f\n",
                 domain.at("name").get<std::string>().c_str(), whole(domain.at("sequences")), exact, counted - exact,
                 domain.at("worst_batch").get<double>(), whole(domain.at("tokens")),
                 domain.at("passes_before").get<double>(), domain.at("passes_after").get<double>());
  }
  return text;
}

} // namespace

Result<PreparedData> open_prepared(const Experiment& experiment, const DataSession& session) {
  PreparedData prepared;
  CONCLAVE_ASSIGN(prepared.store, data::find_prepared(session.request(), prepared.report));
  CONCLAVE_ASSIGN(prepared.plan, assemble_batches(experiment, prepared.store, session.request(), 0, 1));
  return prepared;
}

ordered_json show_corpus(const PreparedData& prepared) {
  const data::TokenStore& store = *prepared.store;
  const SpecialTokens special = store.special_tokens();
  ordered_json domains = ordered_json::array();
  for (std::size_t d = 0; d < store.domain_count(); ++d)
    domains.push_back({{"name", store.domain_name(d)},
                       {"share", store.share(d)},
                       {"shards", prepared.report.domains[d].shards},
                       {"train", split_json(store, data::Split::train, d)},
                       {"held_out", split_json(store, data::Split::held_out, d)}});
  return {{"corpus", store.directory().string()},
          {"digest", store.digest()},
          {"order", prepared.plan->digest()},
          {"vocabulary_size", store.vocabulary_size()},
          {"special_tokens",
           {{"beginning", special.beginning},
            {"end", special.end},
            {"padding", special.padding},
            {"unknown", special.unknown}}},
          {"domains", std::move(domains)}};
}

std::string show_text(const ordered_json& view) {
  std::string text = "corpus     " + view.at("corpus").get<std::string>() + "\ndigest     " +
                     view.at("digest").get<std::string>() + "\norder      " + view.at("order").get<std::string>() +
                     line("\nvocabulary %lld ids, a document ends with %lld\n\n", whole(view.at("vocabulary_size")),
                          whole(view.at("special_tokens").at("end")));
  text += line("%-16s %8s %8s %12s %14s %12s %14s\n", "domain", "share", "shards", "documents", "tokens", "held out",
               "tokens");
  for (const auto& domain : view.at("domains"))
    text += line("%-16s %6.2f %% %8lld %12lld %14lld %12lld %14lld\n", domain.at("name").get<std::string>().c_str(),
                 100 * domain.at("share").get<double>(), whole(domain.at("shards")),
                 whole(domain.at("train").at("documents")), whole(domain.at("train").at("tokens")),
                 whole(domain.at("held_out").at("documents")), whole(domain.at("held_out").at("tokens")));
  text += line("\n%-10s %-28s %14s  %s\n", "stage", "of", "bytes", "folder");
  for (const auto& folder : view.at("folders"))
    text += line("%-10s %-28s %14lld  ", folder.at("stage").get<std::string>().c_str(),
                 folder.at("of").get<std::string>().c_str(), whole(folder.at("bytes"))) +
            folder.at("folder").get<std::string>() + "\n";
  return text;
}

Result<ordered_json> count_corpus(const DataSession& session, const PreparedData& prepared,
                                  const std::string& batches) {
  const data::TokenStore& store = *prepared.store;
  const auto entropy = data::unigram_entropy(store, data::Split::train);
  ordered_json domains = ordered_json::array();
  for (std::size_t d = 0; d < store.domain_count(); ++d) {
    const data::LengthHistogram lengths = data::token_lengths(store, data::Split::train, d);
    domains.push_back({{"name", store.domain_name(d)},
                       {"documents", lengths.documents},
                       {"tokens", lengths.total},
                       {"longest", lengths.largest},
                       {"lengths", lengths.counts},
                       {"bytes_per_token", number(data::bytes_per_token(store, data::Split::train, d))},
                       {"entropy", number(entropy.domains[d])}});
  }
  ordered_json view = {{"domains", std::move(domains)}, {"entropy", number(entropy.total)}};
  if (!batches.empty()) {
    CONCLAVE_ASSIGN(const auto range, batch_range(batches));
    CONCLAVE_ASSIGN(const auto audit,
                    data::audit_shares(*prepared.plan, range.first, range.second, session.request().stop));
    view["batches"] = audit_json(audit, store);
  }
  return view;
}

std::string stats_text(const ordered_json& view) {
  std::string text;
  const auto real = [](const ordered_json& json) { return json.is_null() ? std::nan("") : json.get<double>(); };
  for (const auto& domain : view.at("domains")) {
    text += line("%s: %lld documents, %lld tokens, %.3g bytes a token, unigram entropy %.3f nats\n",
                 domain.at("name").get<std::string>().c_str(), whole(domain.at("documents")),
                 whole(domain.at("tokens")), real(domain.at("bytes_per_token")), real(domain.at("entropy")));
    const auto& counts = domain.at("lengths");
    const double most = std::max<double>(1, domain.at("documents").get<double>());
    const auto first = std::find_if(counts.begin(), counts.end(), [](const ordered_json& count) { return count != 0; });
    for (auto k = static_cast<std::size_t>(first - counts.begin()); k < counts.size(); ++k) {
      const double share = counts[k].get<double>() / most;
      text +=
          line("  %10lld to %10lld tokens %12lld %5.1f %%  ", 1LL << k, (2LL << k) - 1, whole(counts[k]), 100 * share) +
          std::string(static_cast<std::size_t>(std::lround(40 * share)), '#') + "\n";
    }
  }
  if (view.contains("batches")) text += audit_text(view.at("batches"));
  return text;
}

} // namespace conclave
