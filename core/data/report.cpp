// The report as JSON.

#include "data/report.hpp"

#include <nlohmann/json.hpp>

namespace conclave::data {
namespace {

using nlohmann::ordered_json; // as a person would read it

constexpr int report_schema = 1;

ordered_json split_json(std::int64_t documents, std::int64_t tokens, std::int64_t bytes) {
  return {{"documents", documents}, {"tokens", tokens}, {"bytes", bytes}};
}

} // namespace

std::string to_json(const PrepareReport& report) {
  ordered_json filters = ordered_json::array(), dedup = ordered_json::array(), domains = ordered_json::array();
  const FilterCount* before = nullptr;
  for (const FilterCount& count : report.counts) {
    if (before == nullptr || before->filter != count.filter || before->domain != count.domain)
      filters.push_back({{"filter", count.filter},
                         {"domain", count.domain},
                         {"kept", {{"documents", 0}, {"bytes", 0}}},
                         {"dropped", ordered_json::object()}});
    before = &count;
    ordered_json& entry = filters.back();
    (count.reason.empty() ? entry["kept"] : entry["dropped"][count.reason]) = {{"documents", count.documents},
                                                                               {"bytes", count.bytes}};
  }
  for (const DedupSummary& each : report.dedup)
    dedup.push_back({{"filter", each.filter}, {"keys", each.keys}, {"large_groups", each.large_groups}});
  for (const DomainSummary& domain : report.domains)
    domains.push_back(
        {{"name", domain.name},
         {"shards", domain.shards},
         {"repaired_documents", domain.repaired_documents},
         {"train", split_json(domain.train_documents, domain.train_tokens, domain.train_bytes)},
         {"held_out", split_json(domain.held_out_documents, domain.held_out_tokens, domain.held_out_bytes)}});
  const ordered_json root = {{"schema", report_schema},
                             {"cached", report.cached},
                             {"filters", std::move(filters)},
                             {"dedup", std::move(dedup)},
                             {"domains", std::move(domains)}};
  // A filter's name or reason may hold bytes that are not UTF-8: replaced rather than thrown at.
  return root.dump(2, ' ', /*ensure_ascii=*/false, ordered_json::error_handler_t::replace) + "\n";
}

} // namespace conclave::data
