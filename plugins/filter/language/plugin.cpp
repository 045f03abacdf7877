// filter/language: drops texts that are not in the languages wanted, as CLD2 finds them.
//
// What this is not: a language for other filters, which take a document's from its source. For another classifier
// (lid.176.bin, GlotLID) there is filter/fasttext.

#include <cstdio> // CLD2's header forgets it

#include <cld2/public/compact_lang_det.h>

#include <algorithm>
#include <string>

#include "conclave/datakit/by_language.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::language {
namespace {

struct Options {
  std::vector<std::string> keep;
  Fraction min_share = 0.65;
  bool unknown = false;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("keep", &Options::keep)
      .affects(Affects::selection)
      .doc("Languages to keep, as `en` or `zh`; script and region do not count. Empty: all.")
      .opt("min_share", &Options::min_share)
      .affects(Affects::selection)
      .doc("Share of the text that must be in its main language.")
      .opt("unknown", &Options::unknown)
      .affects(Affects::selection)
      .doc("Keep texts that are too short or too strange to tell.")
      .build();
}

/// The main language of a text and its share; key 0 when it cannot be told.
struct Found {
  std::uint64_t key = 0;
  double share = 0;
};

Found detect(std::string_view text) {
  // CLD2 counts in int; what the beginning of such a text says is enough.
  const int size = static_cast<int>(std::min<std::size_t>(text.size(), 1 << 30));
  CLD2::Language languages[3] = {};
  int percents[3] = {}, bytes = 0;
  bool reliable = false;
  CLD2::DetectLanguageSummary(text.data(), size, /*is_plain_text=*/true, languages, percents, &bytes, &reliable);
  if (!reliable || languages[0] == CLD2::UNKNOWN_LANGUAGE) return {};
  return {datakit::language_key(CLD2::LanguageCode(languages[0])), percents[0] / 100.0};
}

enum Column : std::size_t { main_language, share };

class LanguageFilter final : public Filter {
 public:
  LanguageFilter(HostContext&, const Options& options) : options_(options) {
    for (const std::string& each : options.keep) keep_.push_back(datakit::language_key(each));
  }

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"language", ColumnType::bits64, "hash of the main language's code; 0: unknown"},
            {"share", ColumnType::real, "share of the text in it"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const Found found = detect(documents[row].text);
      writer.set_bits(row, main_language, found.key);
      writer.set(row, share, found.share);
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    const std::uint64_t key = row.bits(main_language);
    if (key == 0) return options_.unknown ? Verdict::keep() : Verdict::drop("unknown-language");
    if (!keep_.empty() && std::ranges::find(keep_, key) == keep_.end()) return Verdict::drop("other-language");
    if (row.real(share) < options_.min_share) return Verdict::drop("mixed-languages");
    return Verdict::keep();
  }

 private:
  Options options_;
  std::vector<std::uint64_t> keep_;
};

} // namespace
} // namespace conclave::language

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::language::LanguageFilter, conclave::language::Options>(
    {.id = "filter/language",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Drops texts that are not in the languages wanted, as CLD2 finds them",
     .licence = "MIT"},
    conclave::language::table()))
