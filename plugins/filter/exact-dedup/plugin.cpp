// filter/exact-dedup: keeps the first of documents whose normalised texts are equal.
//
// Documents meet under a 64-bit key; before one is dropped, a second 64-bit hash and the normalised length must agree as
// well. Both hashes are halves of XXH3's 128-bit hash (Yann Collet's xxHash), so a pair of different texts is taken for
// equal with a chance of about 2^-128, and a collision of the key alone drops nothing.

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string>
#include <unordered_set>

#include "conclave/datakit/utf8.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::exact_dedup {
namespace {

enum class Normalise { none, whitespace, words };
enum class Scope { global, domain };

struct Options {
  Normalise normalise = Normalise::whitespace;
  Scope scope = Scope::global;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .choice("normalise", &Options::normalise,
              {{"none", Normalise::none}, {"whitespace", Normalise::whitespace}, {"words", Normalise::words}})
      .doc(
          "What is compared. none: every byte. whitespace: runs of white space count as one space, and those at the "
          "ends not "
          "at all. words: only letters and digits, in lower case.")
      .choice("scope", &Options::scope, {{"global", Scope::global}, {"domain", Scope::domain}})
      .affects(Affects::selection)
      .doc(
          "global: a document is dropped when any domain has it already, in the order of the domains. domain: only "
          "within one.")
      .build();
}

class ExactDedup final : public DedupFilter {
 public:
  ExactDedup(HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"key", ColumnType::bits64, "lower half of the hash of the normalised text"},
            {"check", ColumnType::bits64, "its upper half"},
            {"length", ColumnType::integer, "bytes of the normalised text"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const std::string_view text = normalised(documents[row].text);
      const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
      writer.set_bits(row, 0, hash.low64);
      writer.set_bits(row, 1, hash.high64);
      writer.set(row, 2, static_cast<std::int64_t>(text.size()));
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow&) const override { return Verdict::keep(); }

  void keys(const ColumnRow& row, std::vector<std::uint64_t>& out) const override { out.push_back(row.bits(0)); }

  void resolve(std::span<const DedupMember> group, std::vector<bool>& drop) const override {
    // Nearly always one text; more only when keys collide.
    std::unordered_set<std::string> kept;
    for (std::size_t i = 0; i < group.size(); ++i) {
      const ColumnRow& row = *group[i].row;
      const std::string identity = std::to_string(row.bits(1)) + ":" + std::to_string(row.integer(2));
      if (!kept.insert(identity).second) drop[i] = true;
    }
  }

  [[nodiscard]] const char* reason() const override { return "exact-duplicate"; }
  [[nodiscard]] bool across_domains() const override { return options_.scope == Scope::global; }

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
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Keeps the first of documents with equal normalised text",
     .licence = "MIT"},
    conclave::exact_dedup::table()))
