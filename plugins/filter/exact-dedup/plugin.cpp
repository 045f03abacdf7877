// filter/exact-dedup: keeps the first of documents whose normalised texts are equal.
//
// Documents meet under one half of XXH3's 128-bit hash (Yann Collet's xxHash) and are the same when the other half agrees,
// too: a pair of different texts is taken for equal with a chance of 2^-128, and a collision of the key drops nothing.

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string>

#include "conclave/datakit/dedup_options.hpp"
#include "conclave/datakit/utf8.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::exact_dedup {
namespace {

enum class Normalise { none, whitespace, words };

struct Options : datakit::DedupOptions {
  Normalise normalise = Normalise::whitespace;
};

OptionTable table() {
  OptionTableBuilder<Options> builder;
  builder
      .choice("normalise", &Options::normalise,
              {{"none", Normalise::none}, {"whitespace", Normalise::whitespace}, {"words", Normalise::words}})
      .doc(
          "What is compared. none: every byte. whitespace: runs of white space count as one space, and those at the "
          "ends not "
          "at all. words: only letters and digits, in lower case.");
  datakit::add_dedup_options(builder);
  return builder
      .validate([](const Options& options, OptionReport& report) { datakit::check_dedup_options(options, report); })
      .build();
}

class ExactDedup final : public DedupFilter {
 public:
  ExactDedup(HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"key", ColumnType::bits64, "lower half of the hash of the normalised text"},
            {"check", ColumnType::bits64, "its upper half"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const std::string_view text = normalised(documents[row].text);
      const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
      writer.set_bits(row, 0, hash.low64);
      writer.set_bits(row, 1, hash.high64);
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }

  void keys(const ColumnRow& row, std::vector<DedupKey>& out) const override {
    out.push_back({row.bits(0), row.bits(1)});
  }
  [[nodiscard]] bool same(std::uint64_t, std::uint64_t) const override { return false; }

  [[nodiscard]] const char* reason() const override { return "exact-duplicate"; }
  [[nodiscard]] DedupScope scope() const override { return scope_of(options_); }

 private:
  std::string_view normalised(std::string_view text) {
    if (options_.normalise == Normalise::none) return text;
    buffer_.clear();
    if (options_.normalise == Normalise::words) {
      datakit::for_each_word(text, word_, [this](std::string_view word) {
        buffer_.append(word);
        buffer_.push_back(' ');
      });
      return buffer_;
    }
    bool gap = false;
    for (const char c : text) {
      if (c == ' ' || (c >= '\t' && c <= '\r')) {
        gap = true;
        continue;
      }
      if (gap && !buffer_.empty()) buffer_.push_back(' ');
      gap = false;
      buffer_.push_back(c);
    }
    return buffer_;
  }

  Options options_;
  std::string buffer_, word_;
};

} // namespace
} // namespace conclave::exact_dedup

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::exact_dedup::ExactDedup, conclave::exact_dedup::Options>(
    {.id = "filter/exact-dedup",
     .version = "2.0.0",
     .output_revision = 2,
     .summary = "Keeps the first of documents with equal normalised text",
     .licence = "MIT"},
    conclave::exact_dedup::table()))
