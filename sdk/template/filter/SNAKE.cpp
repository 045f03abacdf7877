// @ID@: drops texts with too few words, as a start. Say here what yours is and is not.

#include "conclave/filter.hpp"

namespace {

struct Options {
  std::int64_t minimum = 5;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("minimum", &Options::minimum)
      .at_least(0)
      .affects(conclave::Affects::selection) // a new threshold keeps the cached columns
      .doc("Texts with fewer words are dropped.")
      .build();
}

std::int64_t count_words(std::string_view text) {
  std::int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    words += !space && !inside;
    inside = !space;
  }
  return words;
}

/// One instance per worker thread. Both halves are pure: the same document gives the same answer in any order.
class @CLASS@ final : public conclave::Filter {
 public:
  @CLASS@(conclave::HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] std::vector<conclave::ColumnSpec> columns() const override {
    return {{"words", conclave::ColumnType::integer, "Words separated by white space."}};
  }

  /// The expensive half: its output is cached.
  void annotate(std::span<const conclave::Document> documents, conclave::ColumnWriter& writer) override {
    for (std::size_t i = 0; i < documents.size(); ++i) writer.set(i, 0, count_words(documents[i].text));
  }

  /// The cheap half: runs again whenever a threshold changes.
  [[nodiscard]] conclave::Verdict select(const conclave::ColumnRow& row) const override {
    return row.integer(0) < options_.minimum ? conclave::Verdict::drop("too-few-words") : conclave::Verdict::keep();
  }

 private:
  Options options_;
};

} // namespace

// Raise output_revision whenever annotate() gives other columns for the same text: caches key on it.
CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS@, Options>(
    {.id = "@ID@", .version = "0.1.0", .output_revision = 1, .summary = "Drops texts with too few words.", .licence = "MIT"}, table()))
