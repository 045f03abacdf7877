// filter/c4: cuts lines out of texts and drops texts, by the rules of C4.
//
// lines.hpp names the paper and defines the rules for lines, which are an edit of the text; this file adds those for texts.

#include "conclave/filter.hpp"
#include "conclave/host.hpp"
#include "lines.hpp"

namespace conclave::c4 {
namespace {

struct Options {
  EndMarks end_marks = LineRules().end_marks;
  Count min_words_per_line = 3, max_word_length = 1000;
  bool citations = true, javascript = true, policies = true;
  Count min_sentences = 5;
  bool lorem_ipsum = true, curly_brackets = true;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("end_marks", &Options::end_marks)
      .doc(
          "What a line must end with, by language; the list of \"\" is for all others, and an empty list asks for "
          "nothing.")
      .opt("min_words_per_line", &Options::min_words_per_line)
      .at_least(0)
      .doc("Lines with fewer words leave.")
      .opt("max_word_length", &Options::max_word_length)
      .at_least(0)
      .doc("Lines with a word of more characters leave; 0 for no limit.")
      .opt("citations", &Options::citations)
      .doc("Cut `[1]`, `[edit]` and `[citation needed]` out of lines.")
      .opt("javascript", &Options::javascript)
      .doc("Lines that speak of JavaScript leave.")
      .opt("policies", &Options::policies)
      .doc("Lines that speak of cookies, terms of use or a privacy policy leave.")
      .opt("min_sentences", &Options::min_sentences)
      .at_least(0)
      .affects(Affects::selection)
      .doc("Sentences in the lines that stay.")
      .opt("lorem_ipsum", &Options::lorem_ipsum)
      .affects(Affects::selection)
      .doc("Drop texts with `lorem ipsum`.")
      .opt("curly_brackets", &Options::curly_brackets)
      .affects(Affects::selection)
      .doc("Drop texts with `{`.")
      .build();
}

enum Column : std::size_t { lines, kept_lines, sentences, lorem_ipsum, curly_brackets };

class C4 final : public EditFilter {
 public:
  C4(HostContext&, const Options& options)
      : options_(options),
        filter_({options.end_marks, options.min_words_per_line, options.max_word_length, options.citations,
                 options.javascript, options.policies}) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"lines", ColumnType::integer, "lines of the text"},
            {"kept_lines", ColumnType::integer, "those that stay"},
            {"sentences", ColumnType::integer, "sentences in those"},
            {"lorem_ipsum", ColumnType::integer, "lines with `lorem ipsum`"},
            {"curly_brackets", ColumnType::integer, "lines with `{`"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      std::int64_t count = 0;
      const LineCounts counts = filter_(documents[row].text, documents[row].language,
                                        [&](std::string_view line) { count += datakit::count_sentences(cut_(line)); });
      writer.set(row, lines, counts.lines);
      writer.set(row, kept_lines, counts.kept);
      writer.set(row, sentences, count);
      writer.set(row, lorem_ipsum, counts.lorem_ipsum);
      writer.set(row, curly_brackets, counts.curly_brackets);
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    if (options_.lorem_ipsum && row.integer(lorem_ipsum) > 0) return Verdict::drop("lorem-ipsum");
    if (options_.curly_brackets && row.integer(curly_brackets) > 0) return Verdict::drop("curly-bracket");
    if (row.integer(sentences) < options_.min_sentences) return Verdict::drop("few-sentences");
    return Verdict::keep();
  }

  bool edit(const Document& document, std::string& out) const override {
    out.clear();
    filter_(document.text, document.language, [&](std::string_view line) {
      if (!out.empty()) out += '\n';
      out += line;
    });
    return out != document.text;
  }

 private:
  Options options_;
  LineFilter filter_;
  datakit::WordCutter cut_;
};

} // namespace
} // namespace conclave::c4

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::c4::C4, conclave::c4::Options>(
    {.id = "filter/c4",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Cuts lines out of texts and drops texts, by the published rules of C4",
     .licence = "MIT"},
    conclave::c4::table()))
