// filter/length: drops documents that are too short or too long, in bytes or in characters.
//
// What this is not: the gate in tokens, which is the host's (data.length), because it comes after the tokenizer.

#include <limits>
#include <optional>

#include "conclave/datakit/utf8.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::length {
namespace {

struct Options {
  Bytes min_bytes = 0;
  std::optional<Bytes> max_bytes;
  Count min_characters = 0;
  std::optional<Count> max_characters;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("min_bytes", &Options::min_bytes)
      .at_least(0)
      .affects(Affects::selection)
      .doc("Drop documents with fewer bytes.")
      .opt("max_bytes", &Options::max_bytes)
      .at_least(0)
      .affects(Affects::selection)
      .doc("Drop documents with more bytes.")
      .opt("min_characters", &Options::min_characters)
      .at_least(0)
      .affects(Affects::selection)
      .doc("Drop documents with fewer characters (Unicode code points).")
      .opt("max_characters", &Options::max_characters)
      .at_least(0)
      .affects(Affects::selection)
      .doc("Drop documents with more characters.")
      .validate([](const Options& o, OptionReport& report) {
        if (o.max_bytes && *o.max_bytes < o.min_bytes) report.error("max_bytes", "it is below min_bytes", "swap them");
        if (o.max_characters && *o.max_characters < o.min_characters)
          report.error("max_characters", "it is below min_characters", "swap them");
      })
      .build();
}

class LengthFilter final : public Filter {
 public:
  LengthFilter(HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"bytes", ColumnType::integer, "bytes of the text"},
            {"characters", ColumnType::integer, "its code points"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      writer.set(row, 0, static_cast<std::int64_t>(documents[row].text.size()));
      writer.set(row, 1, datakit::count_characters(documents[row].text));
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    const std::int64_t bytes = row.integer(0), characters = row.integer(1);
    if (bytes < options_.min_bytes || characters < options_.min_characters) return Verdict::drop("too-short");
    if (options_.max_bytes && bytes > *options_.max_bytes) return Verdict::drop("too-long");
    if (options_.max_characters && characters > *options_.max_characters) return Verdict::drop("too-long");
    return Verdict::keep();
  }

 private:
  Options options_;
};

} // namespace
} // namespace conclave::length

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::length::LengthFilter, conclave::length::Options>(
    {.id = "filter/length",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Drops documents outside bounds in bytes or characters",
     .licence = "MIT"},
    conclave::length::table()))
