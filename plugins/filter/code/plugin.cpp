// filter/code: drops data, minified and generated files from source code.
//
// shape.hpp defines each measure; the defaults are the thresholds of StarCoder's data (Li et al. 2023, "StarCoder: may the
// source be with you!", section 3); that of tokens is ours.

#include "conclave/filter.hpp"
#include "conclave/host.hpp"
#include "shape.hpp"

namespace conclave::code {
namespace {

struct Options {
  Count max_longest_line = 1000, max_longest_token = 1000;
  double max_mean_line = 100;
  Fraction min_alphanumeric = 0.25, min_comments = 0, max_comments = 0.8;
  bool xml = true, generated = true;
};

OptionTable table() {
  constexpr Affects selection = Affects::selection;
  return OptionTableBuilder<Options>()
      .opt("max_longest_line", &Options::max_longest_line)
      .at_least(1)
      .affects(selection)
      .doc("Characters of the longest line.")
      .opt("max_longest_token", &Options::max_longest_token)
      .at_least(1)
      .affects(selection)
      .doc("Characters of the longest run without white space.")
      .opt("max_mean_line", &Options::max_mean_line)
      .at_least(0)
      .affects(selection)
      .doc("Characters of a line, on average.")
      .opt("min_alphanumeric", &Options::min_alphanumeric)
      .affects(selection)
      .doc("Share of characters that are letters or digits.")
      .opt("min_comments", &Options::min_comments)
      .affects(selection)
      .doc("Share of characters in lines of comment. StarCoder took 0.01 for Python, Java and JavaScript.")
      .opt("max_comments", &Options::max_comments)
      .affects(selection)
      .doc("Share of characters in lines of comment.")
      .opt("xml", &Options::xml)
      .affects(selection)
      .doc("Drop files that begin as XML.")
      .opt("generated", &Options::generated)
      .affects(selection)
      .doc("Drop files that say in their first five lines that a program wrote them.")
      .validate([](const Options& o, OptionReport& report) {
        if (o.max_comments < o.min_comments) report.error("max_comments", "it is below min_comments", "swap them");
      })
      .build();
}

enum Column : std::size_t { longest_line, longest_token, mean_line, alphanumeric, comments, xml, generated };

class CodeFilter final : public Filter {
 public:
  CodeFilter(HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"longest_line", ColumnType::integer, "characters of the longest line"},
            {"longest_token", ColumnType::integer, "characters of the longest run without white space"},
            {"mean_line", ColumnType::real, "characters of a line"},
            {"alphanumeric", ColumnType::real, "share of characters that are letters or digits"},
            {"comments", ColumnType::real, "share of characters in lines of comment"},
            {"xml", ColumnType::integer, "1: begins as XML"},
            {"generated", ColumnType::integer, "1: says that a program wrote it"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const Shape shape = shape_of(documents[row].text, documents[row].language);
      writer.set(row, longest_line, shape.longest_line);
      writer.set(row, longest_token, shape.longest_token);
      writer.set(row, mean_line, shape.mean_line);
      writer.set(row, alphanumeric, shape.alphanumeric);
      writer.set(row, comments, shape.comments);
      writer.set(row, xml, std::int64_t{shape.xml});
      writer.set(row, generated, std::int64_t{shape.generated});
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    const Options& o = options_;
    if (o.xml && row.integer(xml) != 0) return Verdict::drop("xml");
    if (o.generated && row.integer(generated) != 0) return Verdict::drop("generated");
    if (row.integer(longest_line) > o.max_longest_line) return Verdict::drop("long-line");
    if (row.real(mean_line) > o.max_mean_line) return Verdict::drop("long-lines");
    if (row.integer(longest_token) > o.max_longest_token) return Verdict::drop("long-token");
    if (row.real(alphanumeric) < o.min_alphanumeric) return Verdict::drop("few-letters");
    if (row.real(comments) < o.min_comments) return Verdict::drop("few-comments");
    if (row.real(comments) > o.max_comments) return Verdict::drop("many-comments");
    return Verdict::keep();
  }

 private:
  Options options_;
};

} // namespace
} // namespace conclave::code

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::code::CodeFilter, conclave::code::Options>(
    {.id = "filter/code",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Drops data, minified and generated files from source code",
     .licence = "MIT"},
    conclave::code::table()))
