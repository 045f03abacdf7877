// Filter: decides which documents stay. It works in two halves so that a changed threshold costs nothing.
//
// annotate() computes columns from the text; it is the expensive half and its output is cached. select() looks at a
// row's columns and says keep or why not; it is cheap and runs again whenever an option marked Affects::selection
// changes. Both are pure: the same document gives the same answer whatever came before, in any order, on any thread.
//
// A filter that compares documents with each other is a DedupFilter: it gives keys for each row, the host brings documents
// that share a key together, joins those that are the same into clusters, and keeps the first document of each cluster.
//
// Threading: one instance per worker thread; no call overlaps another on the same instance.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/document.hpp"
#include "conclave/plugin.hpp"

namespace conclave {

/// reason is null to keep the document, else a short name counted in the report, e.g. "too-short". It must point to
/// storage that outlives the instance (a literal).
struct Verdict {
  const char* reason = nullptr;
  static constexpr Verdict keep() { return {}; }
  static constexpr Verdict drop(const char* why) { return {why}; }
};

class Filter : public Plugin {
 public:
  static constexpr const char* kind = "filter";
  ~Filter() override;

  /// The columns that annotate() writes, the same for every instance with the same options.
  [[nodiscard]] virtual std::vector<ColumnSpec> columns() const = 0;
  virtual void annotate(std::span<const Document> documents, ColumnWriter& writer) = 0;
  [[nodiscard]] virtual Verdict select(const ColumnRow& row) const = 0;
  /// What annotate() and edit() depend on beside documents and options: a digest of the files that options name. It keys
  /// the cache.
  [[nodiscard]] virtual std::string inputs() const { return {}; }
};

/// A filter that also changes texts. The host edits the documents that every filter kept, in the order of the filters,
/// where it tokenises them or trains a tokenizer on them. All columns, deduplication and the held-out split are of the text as it was read.
class EditFilter : public Filter {
 public:
  ~EditFilter() override;

  /// The new text of `document` into `out` (what it holds is overwritten); false: the text stays, and `out` means nothing.
  /// Pure, and a function of the document and of options that affect numerics alone: selection options do not count.
  virtual bool edit(const Document& document, std::string& out) const = 0;
};

/// A key of a document, and what is compared with other documents that have the key.
struct DedupKey {
  std::uint64_t key = 0, value = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 reads the 0 of a comparison category as a pointer
  friend auto operator<=>(const DedupKey&, const DedupKey&) = default;
};

/// Which documents a deduplication compares with each other. Each narrows the one before.
struct DedupScope {
  enum class Within { corpus, domain, dump };
  Within within = Within::corpus;
  /// With Within::dump: a regular expression (ECMAScript); the text that it matches in a shard's id names the dump of the
  /// shard's documents. Shards of a domain in which it matches nothing are one dump.
  std::string dump;
};

class DedupFilter : public Filter {
 public:
  ~DedupFilter() override;

  /// Keys under which equal or similar documents meet; any number, in any order.
  virtual void keys(const ColumnRow& row, std::vector<DedupKey>& out) const = 0;
  /// Whether two documents with different values of one key are the same. Those with equal values are, unasked. Symmetric.
  /// It joins: with a like b and b like c, all three are one cluster, of which only the first document stays. First is
  /// what stands first in the order of the experiment's domains, then of the domain's shards.
  [[nodiscard]] virtual bool same(std::uint64_t value, std::uint64_t other) const = 0;
  /// The reason counted in the report.
  [[nodiscard]] virtual const char* reason() const = 0;
  [[nodiscard]] virtual DedupScope scope() const = 0;
};

} // namespace conclave
