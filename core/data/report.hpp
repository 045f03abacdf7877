// PrepareReport: what every filter kept and dropped of every domain, and what became of the domains.
//
// Threading: values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace conclave::data {

/// One row of the report: what a filter did to a domain.
struct FilterCount {
  std::string filter, domain, reason; ///< reason "" counts the kept ones
  std::int64_t documents = 0, bytes = 0;
};

/// What a deduplication compared.
struct DedupSummary {
  std::string filter;
  std::int64_t keys = 0;
  std::int64_t large_groups = 0; ///< keys with so many different values that not every pair of them was compared
};

/// What became of one domain.
struct DomainSummary {
  std::string name;
  std::int64_t shards = 0;
  std::int64_t repaired_documents = 0; ///< kept with bytes replaced by U+FFFD
  std::int64_t train_documents = 0, train_tokens = 0, train_bytes = 0;
  std::int64_t held_out_documents = 0, held_out_tokens = 0, held_out_bytes = 0;
};

/// Rows of `counts` come in the order of the stages: "source" (dropped: invalid-utf8, unreadable-record), each filter by
/// its name, "length-gate" (dropped: too-short, too-long; cut: bytes cut from kept documents, with no document). The kept
/// documents of a row are those that the next one sees.
struct PrepareReport {
  std::vector<FilterCount> counts;
  std::vector<DedupSummary> dedup; ///< one for each filter that compares documents, in the order of the filters
  std::vector<DomainSummary> domains;
  bool cached = false; ///< nothing had to run
};

/// The report for people and scripts, as the content of a file. JSON, schema 1:
///   {"schema": 1, "cached": false,
///    "filters": [{"filter": "source", "domain": "web", "kept": {"documents": 90, "bytes": 81234},
///                 "dropped": {"<reason>": {"documents": 10, "bytes": 4321}, ...}}, ...],
///    "dedup": [{"filter": "simhash", "keys": 360, "large_groups": 0}, ...],
///    "domains": [{"name": "web", "shards": 3, "repaired_documents": 0,
///                 "train": {"documents": 80, "tokens": 20000, "bytes": 75000}, "held_out": {...}}, ...]}
/// `filters` has one entry for each filter and domain, in the order of the stages; `bytes` are UTF-8 bytes of text.
std::string to_json(const PrepareReport& report);

} // namespace conclave::data
