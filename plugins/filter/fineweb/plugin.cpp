// filter/fineweb: drops lists, menus and the like, by the rules that FineWeb adds to Gopher's and C4's.
//
// Penedo et al., "The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale" (2024), section 3.6; those of
// Chinese are FineWeb-2's (2025). A line is what stands between line ends and has something other than white space on it,
// compared byte by byte; words are datakit::WordCutter's, marks among them.

#include <algorithm>

#include "conclave/datakit/by_language.hpp"
#include "conclave/datakit/groups.hpp"
#include "conclave/datakit/share.hpp"
#include "conclave/datakit/utf8.hpp"
#include "conclave/datakit/words.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::fineweb {
namespace {

struct Options {
  Count short_line = 30;
  Fraction min_ended_lines = 0.12, max_short_lines = 0.67, max_repeated_characters = 0.01;
  double max_line_ends = 0.3;
  datakit::ByLanguage by_language = {{"zh", {{"min_ended_lines", 0.106}, {"max_line_ends", 0.178}}}};
};

constexpr datakit::Threshold<Options> thresholds[] = {
    {"min_ended_lines", [](Options& o, double v) { o.min_ended_lines = v; }},
    {"max_short_lines", [](Options& o, double v) { o.max_short_lines = v; }},
    {"max_repeated_characters", [](Options& o, double v) { o.max_repeated_characters = v; }},
    {"max_line_ends", [](Options& o, double v) { o.max_line_ends = v; }},
};

OptionTable table() {
  constexpr Affects selection = Affects::selection;
  return OptionTableBuilder<Options>()
      .opt("short_line", &Options::short_line)
      .at_least(0)
      .doc("A line of at most so many characters is short.")
      .opt("min_ended_lines", &Options::min_ended_lines)
      .affects(selection)
      .doc("Share of lines that end with a mark that ends sentences, in any script.")
      .opt("max_short_lines", &Options::max_short_lines)
      .affects(selection)
      .doc("Share of lines that are short.")
      .opt("max_repeated_characters", &Options::max_repeated_characters)
      .affects(selection)
      .doc("Share of characters in lines that came before.")
      .opt("max_line_ends", &Options::max_line_ends)
      .at_least(0)
      .affects(selection)
      .doc("Line ends for each word or mark.")
      .opt("by_language", &Options::by_language)
      .at_least(0)
      .affects(selection)
      .doc(
          "Other thresholds for documents of a language, by the names of the options above. Replaces the shipped ones.")
      .validate([](const Options& o, OptionReport& report) {
        datakit::check_by_language<Options>(o.by_language, thresholds, report);
      })
      .build();
}

enum Column : std::size_t { language, lines, ended_lines, short_lines, repeated_characters, line_ends };

class FineWeb final : public Filter {
 public:
  FineWeb(HostContext&, const Options& options)
      : short_line_(options.short_line), options_(options, options.by_language, thresholds) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"language", ColumnType::bits64, "which thresholds count"},
            {"lines", ColumnType::integer, "lines that are not blank"},
            {"ended_lines", ColumnType::real, "share of lines that end a sentence"},
            {"short_lines", ColumnType::real, "share of lines that are short"},
            {"repeated_characters", ColumnType::real, "share of characters in lines that came before"},
            {"line_ends", ColumnType::real, "line ends for each word or mark"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const std::string_view text = documents[row].text;
      const auto ends = static_cast<std::uint64_t>(std::ranges::count(text, '\n'));
      datakit::Copies copies(groups_);
      std::uint64_t ended = 0, brief = 0;
      datakit::for_each_line(text, [&](std::string_view line) {
        if (datakit::trimmed(line).empty()) return;
        copies.add(line);
        ended += datakit::ends_sentence(line);
        brief += datakit::count_characters(line) <= short_line_;
      });
      writer.set_bits(row, language, datakit::language_key(documents[row].language));
      writer.set(row, lines, static_cast<std::int64_t>(copies.pieces()));
      writer.set(row, ended_lines, datakit::share(ended, copies.pieces()));
      writer.set(row, short_lines, datakit::share(brief, copies.pieces()));
      const auto characters = static_cast<std::uint64_t>(datakit::count_characters(text));
      writer.set(row, repeated_characters, datakit::share(copies.characters(), characters - ends));
      writer.set(row, line_ends, datakit::share(ends, cut_(text).size()));
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    const Options& o = options_.of(row.bits(language));
    if (row.integer(lines) == 0) return Verdict::drop("empty");
    if (row.real(ended_lines) < o.min_ended_lines) return Verdict::drop("few-ended-lines");
    if (row.real(short_lines) > o.max_short_lines) return Verdict::drop("short-lines");
    if (row.real(repeated_characters) > o.max_repeated_characters) return Verdict::drop("repeated-lines");
    if (row.real(line_ends) > o.max_line_ends) return Verdict::drop("many-lines");
    return Verdict::keep();
  }

 private:
  std::int64_t short_line_;
  datakit::LanguageOptions<Options> options_;
  datakit::Groups groups_;
  datakit::WordCutter cut_;
};

} // namespace
} // namespace conclave::fineweb

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::fineweb::FineWeb, conclave::fineweb::Options>(
    {.id = "filter/fineweb",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Drops lists, menus and the like, by the published rules of FineWeb",
     .licence = "MIT"},
    conclave::fineweb::table()))
