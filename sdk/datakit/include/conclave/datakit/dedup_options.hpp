// Options that say which documents a deduplication compares: what filters that compare have in common.
//
//   struct Options : datakit::DedupOptions { int distance = 3; };
//   OptionTableBuilder<Options> builder;
//   builder.opt("distance", &Options::distance).doc("...");
//   datakit::add_dedup_options(builder);
//   builder.validate([](const Options& o, OptionReport& report) { datakit::check_dedup_options(o, report); });
//
// Threading: pure functions.
#pragma once

#include <string>

#include "conclave/filter.hpp"
#include "conclave/options.hpp"

namespace conclave::datakit {

struct DedupOptions {
  DedupScope::Within scope = DedupScope::Within::corpus;
  std::string dump;
};

template <class Options>
void add_dedup_options(OptionTableBuilder<Options>& builder) {
  using Within = DedupScope::Within;
  builder
      .choice("scope", static_cast<Within Options::*>(&Options::scope),
              {{"global", Within::corpus}, {"domain", Within::domain}, {"dump", Within::dump}})
      .affects(Affects::selection)
      .doc(
          "Which documents are compared. global: all; the copy in the domain that stands first in the experiment "
          "stays. "
          "domain: those of one domain. dump: those of one domain and one dump.")
      .opt("dump", static_cast<std::string Options::*>(&Options::dump))
      .affects(Affects::selection)
      .doc(
          "With scope: dump, a regular expression. What it matches in the id of a shard (its path) names the dump of "
          "the "
          "shard's documents, e.g. 'CC-MAIN-[0-9]+-[0-9]+'. Shards in which it matches nothing are one dump.");
}

/// For the plugin's validate(): a dump without its scope, a scope without its dump, and what is no regular expression.
void check_dedup_options(const DedupOptions& options, OptionReport& report);

inline DedupScope scope_of(const DedupOptions& options) { return {options.scope, options.dump}; }

} // namespace conclave::datakit
