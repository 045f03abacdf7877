// filter/gopher-repetition: drops texts that repeat themselves, by the published rules of Gopher.
//
// repetition.hpp names the paper and defines each measure; the defaults below are its thresholds. Those of Chinese are
// FineWeb-2's (Penedo et al. 2025).

#include <string>

#include "conclave/datakit/by_language.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"
#include "repetition.hpp"

namespace conclave::repetition {
namespace {

struct Options {
  Fraction max_repeated_lines = 0.3, max_repeated_paragraphs = 0.3;
  Fraction max_repeated_line_characters = 0.2, max_repeated_paragraph_characters = 0.2;
  std::vector<double> max_top_ngrams = {0.20, 0.18, 0.16};
  std::vector<double> max_repeated_ngrams = {0.15, 0.14, 0.13, 0.12, 0.11, 0.10};
  datakit::ByLanguage by_language = {{"zh",
                                      {{"max_repeated_lines", 0.287},
                                       {"max_top_2gram", 0.256},
                                       {"max_top_3gram", 0.201},
                                       {"max_top_4gram", 0.171},
                                       {"max_repeated_5grams", 0.198},
                                       {"max_repeated_6grams", 0.182},
                                       {"max_repeated_7grams", 0.167},
                                       {"max_repeated_8grams", 0.154},
                                       {"max_repeated_9grams", 0.14},
                                       {"max_repeated_10grams", 0.127}}}};
};

constexpr datakit::Threshold<Options> thresholds[] = {
    {"max_repeated_lines", [](Options& o, double v) { o.max_repeated_lines = v; }},
    {"max_repeated_paragraphs", [](Options& o, double v) { o.max_repeated_paragraphs = v; }},
    {"max_repeated_line_characters", [](Options& o, double v) { o.max_repeated_line_characters = v; }},
    {"max_repeated_paragraph_characters", [](Options& o, double v) { o.max_repeated_paragraph_characters = v; }},
    {"max_top_2gram", [](Options& o, double v) { o.max_top_ngrams[0] = v; }},
    {"max_top_3gram", [](Options& o, double v) { o.max_top_ngrams[1] = v; }},
    {"max_top_4gram", [](Options& o, double v) { o.max_top_ngrams[2] = v; }},
    {"max_repeated_5grams", [](Options& o, double v) { o.max_repeated_ngrams[0] = v; }},
    {"max_repeated_6grams", [](Options& o, double v) { o.max_repeated_ngrams[1] = v; }},
    {"max_repeated_7grams", [](Options& o, double v) { o.max_repeated_ngrams[2] = v; }},
    {"max_repeated_8grams", [](Options& o, double v) { o.max_repeated_ngrams[3] = v; }},
    {"max_repeated_9grams", [](Options& o, double v) { o.max_repeated_ngrams[4] = v; }},
    {"max_repeated_10grams", [](Options& o, double v) { o.max_repeated_ngrams[5] = v; }},
};

OptionTable table() {
  constexpr Affects selection = Affects::selection;
  return OptionTableBuilder<Options>()
      .opt("max_repeated_lines", &Options::max_repeated_lines)
      .affects(selection)
      .doc("Share of lines that came before.")
      .opt("max_repeated_paragraphs", &Options::max_repeated_paragraphs)
      .affects(selection)
      .doc("Share of paragraphs that came before.")
      .opt("max_repeated_line_characters", &Options::max_repeated_line_characters)
      .affects(selection)
      .doc("Share of characters in lines that came before.")
      .opt("max_repeated_paragraph_characters", &Options::max_repeated_paragraph_characters)
      .affects(selection)
      .doc("Share of characters in paragraphs that came before.")
      .opt("max_top_ngrams", &Options::max_top_ngrams)
      .length(3)
      .at_least(0)
      .affects(selection)
      .doc("Share of characters in all copies of the most frequent run of 2, 3 and 4 words.")
      .opt("max_repeated_ngrams", &Options::max_repeated_ngrams)
      .length(6)
      .range(0, 1)
      .affects(selection)
      .doc("Share of characters in runs of 5 to 10 words that came before.")
      .opt("by_language", &Options::by_language)
      .at_least(0)
      .affects(selection)
      .doc(
          "Other thresholds for documents of a language, by the names of the options; runs of words one by one, as "
          "`max_top_2gram` and `max_repeated_5grams`. Replaces the shipped ones.")
      .validate([](const Options& o, OptionReport& report) {
        datakit::check_by_language<Options>(o.by_language, thresholds, report);
      })
      .build();
}

enum Column : std::size_t {
  language,
  lines,
  line_characters,
  paragraphs,
  paragraph_characters,
  top_ngrams,
  repeated_ngrams = top_ngrams + std::size(top_ngram_sizes)
};

class GopherRepetition final : public Filter {
 public:
  GopherRepetition(HostContext&, const Options& options) : options_(options, options.by_language, thresholds) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    std::vector<ColumnSpec> specs = {
        {"language", ColumnType::bits64, "which thresholds count"},
        {"repeated_lines", ColumnType::real, "share of lines that came before"},
        {"repeated_line_characters", ColumnType::real, "share of characters in lines that came before"},
        {"repeated_paragraphs", ColumnType::real, "share of paragraphs that came before"},
        {"repeated_paragraph_characters", ColumnType::real, "share of characters in paragraphs that came before"}};
    for (const std::size_t n : top_ngram_sizes)
      specs.push_back({"top_" + std::to_string(n) + "gram", ColumnType::real,
                       "share of characters in the most frequent run of words"});
    for (const std::size_t n : repeated_ngram_sizes)
      specs.push_back({"repeated_" + std::to_string(n) + "grams", ColumnType::real,
                       "share of characters in runs that came before"});
    return specs;
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const Repetition r = meter_(documents[row].text);
      writer.set_bits(row, language, datakit::language_key(documents[row].language));
      writer.set(row, lines, r.lines);
      writer.set(row, line_characters, r.line_characters);
      writer.set(row, paragraphs, r.paragraphs);
      writer.set(row, paragraph_characters, r.paragraph_characters);
      for (std::size_t i = 0; i < r.top.size(); ++i) writer.set(row, top_ngrams + i, r.top[i]);
      for (std::size_t i = 0; i < r.repeated.size(); ++i) writer.set(row, repeated_ngrams + i, r.repeated[i]);
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    const Options& o = options_.of(row.bits(language));
    if (row.real(paragraphs) > o.max_repeated_paragraphs ||
        row.real(paragraph_characters) > o.max_repeated_paragraph_characters)
      return Verdict::drop("repeated-paragraphs");
    if (row.real(lines) > o.max_repeated_lines || row.real(line_characters) > o.max_repeated_line_characters)
      return Verdict::drop("repeated-lines");
    for (std::size_t i = 0; i < o.max_top_ngrams.size(); ++i)
      if (row.real(top_ngrams + i) > o.max_top_ngrams[i]) return Verdict::drop("top-ngram");
    for (std::size_t i = 0; i < o.max_repeated_ngrams.size(); ++i)
      if (row.real(repeated_ngrams + i) > o.max_repeated_ngrams[i]) return Verdict::drop("repeated-ngrams");
    return Verdict::keep();
  }

 private:
  datakit::LanguageOptions<Options> options_;
  RepetitionMeter meter_;
};

} // namespace
} // namespace conclave::repetition

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::repetition::GopherRepetition, conclave::repetition::Options>(
    {.id = "filter/gopher-repetition",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Drops texts that repeat themselves, by the published rules of Gopher",
     .licence = "MIT"},
    conclave::repetition::table()))
