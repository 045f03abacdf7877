// filter/gopher-quality: drops texts that do not read like prose, by the published rules of Gopher.
//
// statistics.hpp names the paper and defines each measure; the defaults below are its thresholds. Those of Chinese are
// FineWeb-2's (Penedo et al. 2025). Give code and tables a domain without this filter.

#include <string>

#include "conclave/datakit/by_language.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"
#include "statistics.hpp"

namespace conclave::quality {
namespace {

struct Options {
  Count min_words = 50, max_words = 100'000;
  double min_mean_word = 3, max_mean_word = 10;
  double max_hashes = 0.1, max_ellipses = 0.1;
  Fraction max_bullet_lines = 0.9, max_ellipsis_lines = 0.3, min_words_with_letter = 0.8;
  Count min_stop_words = 2;
  StopWords stop_words = {{"", {"the", "be", "to", "of", "and", "that", "have", "with"}},
                          {"en", {"the", "be", "to", "of", "and", "that", "have", "with"}},
                          {"zh", {"的", "年", "在", "月", "是", "和", "日", "了", "於", "·",  "為",
                                  "有", "被", "人", "中", "为", "他", "與", "後", "也", "而", "由"}}};
  datakit::ByLanguage by_language = {
      {"zh", {{"min_mean_word", 1}, {"max_mean_word", 5}, {"min_words_with_letter", 0.735}}}};
};

constexpr datakit::Threshold<Options> thresholds[] = {
    {"min_words", [](Options& o, double v) { o.min_words = static_cast<std::int64_t>(v); }},
    {"max_words", [](Options& o, double v) { o.max_words = static_cast<std::int64_t>(v); }},
    {"min_mean_word", [](Options& o, double v) { o.min_mean_word = v; }},
    {"max_mean_word", [](Options& o, double v) { o.max_mean_word = v; }},
    {"max_hashes", [](Options& o, double v) { o.max_hashes = v; }},
    {"max_ellipses", [](Options& o, double v) { o.max_ellipses = v; }},
    {"max_bullet_lines", [](Options& o, double v) { o.max_bullet_lines = v; }},
    {"max_ellipsis_lines", [](Options& o, double v) { o.max_ellipsis_lines = v; }},
    {"min_words_with_letter", [](Options& o, double v) { o.min_words_with_letter = v; }},
    {"min_stop_words", [](Options& o, double v) { o.min_stop_words = static_cast<std::int64_t>(v); }},
};

OptionTable table() {
  constexpr Affects selection = Affects::selection;
  return OptionTableBuilder<Options>()
      .opt("min_words", &Options::min_words)
      .at_least(0)
      .affects(selection)
      .doc("Words, without marks.")
      .opt("max_words", &Options::max_words)
      .at_least(1)
      .affects(selection)
      .doc("Words, without marks.")
      .opt("min_mean_word", &Options::min_mean_word)
      .at_least(0)
      .affects(selection)
      .doc("Mean length of a word in characters.")
      .opt("max_mean_word", &Options::max_mean_word)
      .at_least(0)
      .affects(selection)
      .doc("Mean length of a word in characters.")
      .opt("max_hashes", &Options::max_hashes)
      .at_least(0)
      .affects(selection)
      .doc("`#` for each word or mark.")
      .opt("max_ellipses", &Options::max_ellipses)
      .at_least(0)
      .affects(selection)
      .doc("Ellipses for each word or mark.")
      .opt("max_bullet_lines", &Options::max_bullet_lines)
      .affects(selection)
      .doc("Share of lines that begin with a bullet.")
      .opt("max_ellipsis_lines", &Options::max_ellipsis_lines)
      .affects(selection)
      .doc("Share of lines that end with an ellipsis.")
      .opt("min_words_with_letter", &Options::min_words_with_letter)
      .affects(selection)
      .doc("Share of words and marks that hold a letter.")
      .opt("min_stop_words", &Options::min_stop_words)
      .at_least(0)
      .affects(selection)
      .doc("Different stop words of the text's language. A language without a list is not asked for any.")
      .opt("stop_words", &Options::stop_words)
      .doc("Stop words by language; the list of \"\" is for texts of unknown language. Case counts.")
      .opt("by_language", &Options::by_language)
      .at_least(0)
      .affects(selection)
      .doc(
          "Other thresholds for documents of a language, by the names of the options above. Replaces the shipped ones.")
      .validate([](const Options& o, OptionReport& report) {
        if (o.max_words < o.min_words) report.error("max_words", "it is below min_words", "swap them");
        if (o.max_mean_word < o.min_mean_word) report.error("max_mean_word", "it is below min_mean_word", "swap them");
        datakit::check_by_language<Options>(o.by_language, thresholds, report);
      })
      .build();
}

enum Column : std::size_t {
  language,
  words,
  mean_word,
  hashes,
  ellipses,
  bullet_lines,
  ellipsis_lines,
  words_with_letter,
  stop_words
};

class GopherQuality final : public Filter {
 public:
  GopherQuality(HostContext&, const Options& options)
      : options_(options, options.by_language, thresholds), meter_(options.stop_words) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"language", ColumnType::bits64, "which thresholds count"},
            {"words", ColumnType::integer, "words, without marks"},
            {"mean_word", ColumnType::real, "mean characters of a word"},
            {"hashes", ColumnType::real, "`#` for each word or mark"},
            {"ellipses", ColumnType::real, "ellipses for each word or mark"},
            {"bullet_lines", ColumnType::real, "share of lines that begin with a bullet"},
            {"ellipsis_lines", ColumnType::real, "share of lines that end with an ellipsis"},
            {"words_with_letter", ColumnType::real, "share of words and marks that hold a letter"},
            {"stop_words", ColumnType::integer, "different stop words; -1 for a language without a list"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const Document& document = documents[row];
      const Statistics s = meter_(document.text, document.language);
      writer.set_bits(row, language, datakit::language_key(document.language));
      writer.set(row, words, s.words);
      writer.set(row, mean_word, s.mean_word_length);
      writer.set(row, hashes, s.hashes_per_word);
      writer.set(row, ellipses, s.ellipses_per_word);
      writer.set(row, bullet_lines, s.bullet_lines);
      writer.set(row, ellipsis_lines, s.ellipsis_lines);
      writer.set(row, words_with_letter, s.words_with_letter);
      writer.set(row, stop_words, s.stop_words);
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    const Options& o = options_.of(row.bits(language));
    if (row.integer(words) < o.min_words) return Verdict::drop("too-few-words");
    if (row.integer(words) > o.max_words) return Verdict::drop("too-many-words");
    if (row.real(mean_word) < o.min_mean_word || row.real(mean_word) > o.max_mean_word)
      return Verdict::drop("word-length");
    if (row.real(hashes) > o.max_hashes || row.real(ellipses) > o.max_ellipses) return Verdict::drop("symbols");
    if (row.real(bullet_lines) > o.max_bullet_lines) return Verdict::drop("bullets");
    if (row.real(ellipsis_lines) > o.max_ellipsis_lines) return Verdict::drop("ellipses");
    if (row.real(words_with_letter) < o.min_words_with_letter) return Verdict::drop("few-letters");
    const std::int64_t stops = row.integer(stop_words);
    if (stops >= 0 && stops < o.min_stop_words) return Verdict::drop("few-stop-words");
    return Verdict::keep();
  }

 private:
  datakit::LanguageOptions<Options> options_;
  StatisticsMeter meter_;
};

} // namespace
} // namespace conclave::quality

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::quality::GopherQuality, conclave::quality::Options>(
    {.id = "filter/gopher-quality",
     .version = "2.0.0",
     .output_revision = 2,
     .summary = "Drops texts that do not read like prose, by the published rules of Gopher",
     .licence = "MIT"},
    conclave::quality::table()))
