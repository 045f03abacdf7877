// filter/simhash: keeps the first of documents whose SimHash prints differ in few bits.
//
// Documents that share a key are the same when their prints differ in at most `distance` bits. Likeness joins: of a chain
// a~b, b~c only a stays, although a and c may be farther apart.

#include <bit>

#include "blocks.hpp"
#include "conclave/datakit/dedup_options.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"
#include "fingerprint.hpp"

namespace conclave::simhash {
namespace {

struct Options : datakit::DedupOptions {
  int ngram = 3;
  int distance = 3;
  std::optional<int> blocks;
  Count min_features = 24;
};

constexpr std::int64_t most_tables = 64;

int block_count(const Options& options) { return options.blocks.value_or(options.distance + 1); }

OptionTable table() {
  OptionTableBuilder<Options> builder;
  builder.opt("ngram", &Options::ngram)
      .range(1, 16)
      .doc("Features are runs of so many words.")
      .opt("distance", &Options::distance)
      .range(0, 12)
      .affects(Affects::selection)
      .doc("Prints that differ in at most so many of 64 bits are near-duplicates.")
      .opt("blocks", &Options::blocks)
      .range(1, 16)
      .affects(Affects::selection)
      .doc(
          "The print is cut into so many blocks; documents meet when `blocks - distance` of them agree. By default "
          "distance + 1. Above some ten million documents take more, e.g. 6 for distance 3: 20 keys a document instead "
          "of 4, "
          "and groups some ten thousand times smaller.")
      .opt("min_features", &Options::min_features)
      .at_least(1)
      .affects(Affects::selection)
      .doc("Documents with fewer features are never near-duplicates: their prints say too little.");
  datakit::add_dedup_options(builder);
  return builder
      .validate([](const Options& o, OptionReport& report) {
        datakit::check_dedup_options(o, report);
        if (block_count(o) <= o.distance) {
          report.error("blocks", "it must be above distance",
                       "leave it out or give at least " + std::to_string(o.distance + 1));
        } else if (choose(block_count(o), o.distance) > most_tables) {
          report.error("blocks",
                       "it makes " + std::to_string(choose(block_count(o), o.distance)) +
                           " keys for each document, above " + std::to_string(most_tables),
                       "give fewer blocks");
        }
      })
      .build();
}

class SimHash final : public DedupFilter {
 public:
  SimHash(HostContext&, const Options& options)
      : options_(options), print_(options.ngram), keys_(options.distance, block_count(options)) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"simhash", ColumnType::bits64, "SimHash over runs of words"},
            {"features", ColumnType::integer, "how many runs it is made of"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const Fingerprint print = print_(documents[row].text);
      writer.set_bits(row, 0, print.bits);
      writer.set(row, 1, print.features);
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }

  void keys(const ColumnRow& row, std::vector<DedupKey>& out) const override {
    if (row.integer(1) >= options_.min_features) keys_.append(row.bits(0), out);
  }
  [[nodiscard]] bool same(std::uint64_t print, std::uint64_t other) const override {
    return std::popcount(print ^ other) <= options_.distance;
  }

  [[nodiscard]] const char* reason() const override { return "near-duplicate"; }
  [[nodiscard]] DedupScope scope() const override { return scope_of(options_); }

 private:
  Options options_;
  Fingerprinter print_;
  BlockKeys keys_;
};

} // namespace
} // namespace conclave::simhash

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::simhash::SimHash, conclave::simhash::Options>(
    {.id = "filter/simhash",
     .version = "2.0.0",
     .output_revision = 1,
     .summary = "Keeps the first of documents whose 64-bit SimHash prints differ in few bits",
     .licence = "MIT"},
    conclave::simhash::table()))
