// filter/gopher-quality: drops texts that do not read like prose, by the published rules of Gopher.
//
// Sources: statistics.hpp names the paper and defines each measure; the defaults below are its thresholds. The rules suit
// English prose. Give code, tables and other languages a domain without this filter, or loosen them.

#include <array>
#include <string>

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
  int min_stop_words = 2;
  Fraction max_repeated_lines = 0.3, max_repeated_paragraphs = 0.3;
  Fraction max_repeated_line_characters = 0.2, max_repeated_paragraph_characters = 0.2;
  std::vector<double> max_top_ngrams = {0.20, 0.18, 0.16};
  std::vector<double> max_repeated_ngrams = {0.15, 0.14, 0.13, 0.12, 0.11, 0.10};
};

OptionTable table() {
  constexpr Affects selection = Affects::selection;
  return OptionTableBuilder<Options>()
      .opt("min_words", &Options::min_words)
      .at_least(0)
      .affects(selection)
      .doc("Runs without white space.")
      .opt("max_words", &Options::max_words)
      .at_least(1)
      .affects(selection)
      .doc("Runs without white space.")
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
      .doc("`#` for each word.")
      .opt("max_ellipses", &Options::max_ellipses)
      .at_least(0)
      .affects(selection)
      .doc("Ellipses for each word.")
      .opt("max_bullet_lines", &Options::max_bullet_lines)
      .affects(selection)
      .doc("Share of lines that begin with a bullet.")
      .opt("max_ellipsis_lines", &Options::max_ellipsis_lines)
      .affects(selection)
      .doc("Share of lines that end with an ellipsis.")
      .opt("min_words_with_letter", &Options::min_words_with_letter)
      .affects(selection)
      .doc("Share of words that hold a letter.")
      .opt("min_stop_words", &Options::min_stop_words)
      .range(0, 8)
      .affects(selection)
      .doc("Different ones of: the, be, to, of, and, that, have, with. 0 for text that is not English.")
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
      .range(0, 1)
      .affects(selection)
      .doc("Share of characters in the most frequent run of 2, 3 and 4 words.")
      .opt("max_repeated_ngrams", &Options::max_repeated_ngrams)
      .length(6)
      .range(0, 1)
      .affects(selection)
      .doc("Share of characters in runs of 5 to 10 words that came before.")
      .validate([](const Options& o, OptionReport& report) {
        if (o.max_words < o.min_words) report.error("max_words", "it is below min_words", "swap them");
        if (o.max_mean_word < o.min_mean_word) report.error("max_mean_word", "it is below min_mean_word", "swap them");
      })
      .build();
}

enum Column : std::size_t {
  words,
  mean_word,
  hashes,
  ellipses,
  bullet_lines,
  ellipsis_lines,
  words_with_letter,
  stop_words_column,
  repeated_lines,
  repeated_paragraphs,
  repeated_line_characters,
  repeated_paragraph_characters,
  top_ngrams,
  repeated_ngrams = top_ngrams + 3
};

class GopherQuality final : public Filter {
 public:
  GopherQuality(HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    std::vector<ColumnSpec> specs = {
        {"words", ColumnType::integer, "runs without white space"},
        {"mean_word", ColumnType::real, "mean characters of a word"},
        {"hashes", ColumnType::real, "`#` for each word"},
        {"ellipses", ColumnType::real, "ellipses for each word"},
        {"bullet_lines", ColumnType::real, "share of lines that begin with a bullet"},
        {"ellipsis_lines", ColumnType::real, "share of lines that end with an ellipsis"},
        {"words_with_letter", ColumnType::real, "share of words that hold a letter"},
        {"stop_words", ColumnType::integer, "different English stop words"},
        {"repeated_lines", ColumnType::real, "share of lines that came before"},
        {"repeated_paragraphs", ColumnType::real, "share of paragraphs that came before"},
        {"repeated_line_characters", ColumnType::real, "share of characters in lines that came before"},
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
      const Statistics s = meter_(documents[row].text);
      writer.set(row, words, s.words);
      writer.set(row, mean_word, s.mean_word_length);
      writer.set(row, hashes, s.hashes_per_word);
      writer.set(row, ellipses, s.ellipses_per_word);
      writer.set(row, bullet_lines, s.bullet_lines);
      writer.set(row, ellipsis_lines, s.ellipsis_lines);
      writer.set(row, words_with_letter, s.words_with_letter);
      writer.set(row, stop_words_column, s.stop_words);
      writer.set(row, repeated_lines, s.repeated_lines);
      writer.set(row, repeated_paragraphs, s.repeated_paragraphs);
      writer.set(row, repeated_line_characters, s.repeated_line_characters);
      writer.set(row, repeated_paragraph_characters, s.repeated_paragraph_characters);
      for (std::size_t i = 0; i < s.top_ngrams.size(); ++i) writer.set(row, top_ngrams + i, s.top_ngrams[i]);
      for (std::size_t i = 0; i < s.repeated_ngrams.size(); ++i)
        writer.set(row, repeated_ngrams + i, s.repeated_ngrams[i]);
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    const Options& o = options_;
    if (row.integer(words) < o.min_words) return Verdict::drop("too-few-words");
    if (row.integer(words) > o.max_words) return Verdict::drop("too-many-words");
    if (row.real(mean_word) < o.min_mean_word || row.real(mean_word) > o.max_mean_word)
      return Verdict::drop("word-length");
    if (row.real(hashes) > o.max_hashes || row.real(ellipses) > o.max_ellipses) return Verdict::drop("symbols");
    if (row.real(bullet_lines) > o.max_bullet_lines) return Verdict::drop("bullets");
    if (row.real(ellipsis_lines) > o.max_ellipsis_lines) return Verdict::drop("ellipses");
    if (row.real(words_with_letter) < o.min_words_with_letter) return Verdict::drop("few-letters");
    if (row.integer(stop_words_column) < o.min_stop_words) return Verdict::drop("few-stop-words");
    if (row.real(repeated_lines) > o.max_repeated_lines ||
        row.real(repeated_line_characters) > o.max_repeated_line_characters)
      return Verdict::drop("repeated-lines");
    if (row.real(repeated_paragraphs) > o.max_repeated_paragraphs ||
        row.real(repeated_paragraph_characters) > o.max_repeated_paragraph_characters)
      return Verdict::drop("repeated-paragraphs");
    for (std::size_t i = 0; i < o.max_top_ngrams.size(); ++i)
      if (row.real(top_ngrams + i) > o.max_top_ngrams[i]) return Verdict::drop("top-ngram");
    for (std::size_t i = 0; i < o.max_repeated_ngrams.size(); ++i)
      if (row.real(repeated_ngrams + i) > o.max_repeated_ngrams[i]) return Verdict::drop("repeated-ngrams");
    return Verdict::keep();
  }

 private:
  Options options_;
  StatisticsMeter meter_;
};

} // namespace
} // namespace conclave::quality

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::quality::GopherQuality, conclave::quality::Options>(
    {.id = "filter/gopher-quality",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Drops texts that do not read like prose, by the published rules of Gopher",
     .licence = "MIT"},
    conclave::quality::table()))
