// Filter: decides which documents stay. It works in two halves so that a changed threshold costs nothing.
//
// annotate() computes columns from the text; it is the expensive half and its output is cached. select() looks at a
// row's columns and says keep or why not; it is cheap and runs again whenever an option marked Affects::selection
// changes. Both are pure: the same document gives the same answer whatever came before, in any order, on any thread.
//
// A filter that compares documents with each other is a DedupFilter: it gives keys for each row, the host sorts all
// (key, document) pairs, and resolve() marks the documents to drop within each group of equal keys.
//
// Threading: one instance per worker thread; no call overlaps another on the same instance.
#pragma once

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
};

/// One member of a group of equal keys.
struct DedupMember {
  std::uint64_t document = 0; ///< ordinal over the whole corpus; a smaller one came earlier
  std::uint32_t domain = 0;
  const ColumnRow* row = nullptr;
};

class DedupFilter : public Filter {
 public:
  ~DedupFilter() override;

  /// Keys under which equal or similar documents meet; any number, in any order.
  virtual void keys(const ColumnRow& row, std::vector<std::uint64_t>& out) const = 0;
  /// `group` is sorted by document and holds every document that shares one key. Set drop[i] for each member that is a
  /// duplicate of an earlier one that is kept. Called once per group; a document dropped in any group is dropped.
  virtual void resolve(std::span<const DedupMember> group, std::vector<bool>& drop) const = 0;
  /// The reason counted in the report.
  [[nodiscard]] virtual const char* reason() const = 0;
  /// False: documents of different domains never meet.
  [[nodiscard]] virtual bool across_domains() const = 0;
};

} // namespace conclave
