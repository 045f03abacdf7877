// Tables for a terminal.

#include <algorithm>

#include "compare/numbers.hpp"
#include "compare/report.hpp"

namespace conclave::compare {
namespace {

/// Columns as wide as their widest cell; the first two to the left, numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  [[nodiscard]] std::string text() const {
    std::vector<std::size_t> widths(rows_.front().size(), 0);
    std::vector<bool> used(widths.size(), false); // a column of nothing but "-" is left out
    for (std::size_t r = 0; r < rows_.size(); ++r)
      for (std::size_t c = 0; c < rows_[r].size(); ++c) {
        widths[c] = std::max(widths[c], columns(rows_[r][c]));
        if (r > 0 && rows_[r][c] != "-") used[c] = true;
      }
    std::string out;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t c = 0; c < row.size(); ++c) {
        if (!used[c]) continue;
        const std::string padding(widths[c] - columns(row[c]), ' ');
        line += (line.empty() ? "" : "  ") + (c < left_columns ? row[c] + padding : padding + row[c]);
      }
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
  }

 private:
  static constexpr std::size_t left_columns = 2;
  /// Of UTF-8 text of one column a character.
  static std::size_t columns(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
  }
  std::vector<std::vector<std::string>> rows_;
};

std::string mean_text(const std::vector<double>& values, int digits) {
  std::vector<double> known;
  std::copy_if(values.begin(), values.end(), std::back_inserter(known), [](double v) { return std::isfinite(v); });
  if (known.empty()) return "-";
  const Spread spread = spread_of(known);
  return fixed(spread.mean, digits) + (spread.n > 1 ? " ± " + fixed(spread.deviation, digits) : "");
}

template <class Get>
std::vector<double> values_of(const Comparison& all, const Group& group, const Get& get) {
  std::vector<double> values;
  for (const std::size_t index : group.counted) values.push_back(get(all.runs[index].summary));
  return values;
}

double mean_of(const std::vector<double>& values) {
  std::vector<double> known;
  std::copy_if(values.begin(), values.end(), std::back_inserter(known), [](double v) { return std::isfinite(v); });
  return known.empty() ? not_known : spread_of(known).mean;
}

std::string runs_table(const Comparison& all) {
  const std::string target = fixed(all.target_loss, 2);
  Table table({"", "run", "state", "step", "held-out nll", "bits/byte", "training nll", "tokens", "tokens to " + target,
               "time to " + target, "tokens/s", "memory", "fullest expert"});
  for (const Run& run : all.runs) {
    const Summary& s = run.summary;
    table.add({all.groups[run.group].letter, run.facts.name, to_string(run.facts.state), std::to_string(s.last_step),
               fixed(s.held_out.nll, 4), fixed(s.held_out.bits_per_byte, 4), fixed(s.train_nll, 4), with_unit(s.tokens),
               s.reached ? with_unit(s.reached->tokens) : "-", s.reached ? hours_text(s.reached->hours) : "-",
               with_unit(s.tokens_per_second),
               run.facts.peak_memory > 0 ? with_unit(static_cast<double>(run.facts.peak_memory), "B") : "-",
               std::isfinite(s.imbalance) ? fixed(s.imbalance, 2) + " x" : "-"});
  }
  return table.text();
}

std::string groups_table(const Comparison& all) {
  const std::string target = fixed(all.target_loss, 2);
  Table table({"", "group", "seeds", "held-out nll", "bits/byte", "training nll", "tokens to " + target,
               "FLOP to " + target, "time to " + target, "tokens/s", "fullest expert"});
  for (const Group& group : all.groups) {
    const auto get = [&](auto member) { return values_of(all, group, member); };
    const auto reached = [&](double Reached::*member) {
      return mean_of(get([member](const Summary& s) { return s.reached ? (*s.reached).*member : not_known; }));
    };
    const double imbalance = mean_of(get([](const Summary& s) { return s.imbalance; }));
    table.add({group.letter, group.label, std::to_string(group.counted.size()),
               mean_text(get([](const Summary& s) { return s.held_out.nll; }), 4),
               mean_text(get([](const Summary& s) { return s.held_out.bits_per_byte; }), 4),
               mean_text(get([](const Summary& s) { return s.train_nll; }), 4), with_unit(reached(&Reached::tokens)),
               with_unit(reached(&Reached::flops)), hours_text(reached(&Reached::hours)),
               with_unit(mean_of(get([](const Summary& s) { return s.tokens_per_second; }))),
               std::isfinite(imbalance) ? fixed(imbalance, 2) + " x" : "-"});
  }
  return table.text();
}

std::string domains_table(const Comparison& all) {
  std::vector<std::string> header = {"", "group"};
  header.insert(header.end(), all.domains.begin(), all.domains.end());
  Table table(header);
  for (const Group& group : all.groups) {
    std::vector<std::string> row = {group.letter, group.label};
    for (const std::string& domain : all.domains) {
      const auto score = [&](double DomainScore::*member) {
        return mean_of(values_of(all, group, [&](const Summary& s) {
          const auto found = s.domains.find(domain);
          return found == s.domains.end() ? not_known : found->second.*member;
        }));
      };
      const double nll = score(&DomainScore::nll);
      row.push_back(std::isfinite(nll) ? fixed(nll, 4) + " (" + fixed(score(&DomainScore::bits_per_byte), 4) + ")"
                                       : "-");
    }
    table.add(std::move(row));
  }
  return table.text();
}

/// The training nll at five places of the longest run.
std::string curves_table(const Comparison& all) {
  constexpr std::int64_t places = 5;
  std::int64_t longest = 0;
  for (const Run& run : all.runs) longest = std::max(longest, run.summary.last_step);
  std::vector<std::string> header = {"", "group"};
  for (std::int64_t place = 1; place <= places; ++place)
    header.push_back("step " + std::to_string(longest * place / places));
  Table table(header);
  for (const Group& group : all.groups) {
    std::vector<std::string> row = {group.letter, group.label};
    for (std::int64_t place = 1; place <= places; ++place) {
      std::vector<double> values;
      for (const std::size_t index : group.counted) {
        const Curves& curves = all.runs[index].curves;
        const auto found = std::lower_bound(curves.step.begin(), curves.step.end(), longest * place / places);
        if (found != curves.step.end())
          values.push_back(
              trailing_mean(curves.nll, all.window)[static_cast<std::size_t>(found - curves.step.begin())]);
      }
      row.push_back(fixed(mean_of(values), 3));
    }
    table.add(std::move(row));
  }
  return table.text();
}

std::string joined(const std::vector<std::string>& words) {
  constexpr std::size_t most = 6;
  std::string text;
  for (std::size_t i = 0; i < std::min(most, words.size()); ++i) text += (i > 0 ? ", " : "") + words[i];
  return words.size() > most ? text + " and " + std::to_string(words.size() - most) + " more" : text;
}

std::string differences_text(const Comparison& all) {
  std::string text, last;
  for (const Difference& difference : all.differences) {
    if (difference.affects != last)
      text += difference.affects == "environment" ? "  environment, which no setting names\n"
                                                  : "  affects " + difference.affects + "\n";
    last = difference.affects;
    text += "    " + difference.key + "\n";
    for (const Variant& variant : difference.variants)
      text += "      " + joined(variant.whose) + ": " + variant.value +
              (variant.origin.empty() ? "" : "  (" + variant.origin + ")") + "\n";
  }
  return text.empty() ? "  nothing: the experiments are the same\n" : text;
}

} // namespace

std::string to_text(const Comparison& comparison) {
  const std::size_t runs = comparison.runs.size(), groups = comparison.groups.size();
  std::string text = std::to_string(runs) + (runs == 1 ? " run" : " runs") + " in " + std::to_string(groups) +
                     (groups == 1 ? " group\n\n" : " groups\n\n") + runs_table(comparison);
  if (groups < runs) text += "\nGroups: means over seeds ± deviation\n" + groups_table(comparison);
  if (!comparison.domains.empty())
    text += "\nHeld-out nll by domain, in nats a token (bits per byte)\n" + domains_table(comparison);
  text += "\nTraining nll, mean of " + std::to_string(comparison.window) + " steps\n" + curves_table(comparison);
  text += "\nWhat differs\n" + differences_text(comparison);
  bool marked = !comparison.left_out.empty();
  for (const Run& run : comparison.runs) marked |= !run.facts.marks.empty();
  if (marked) {
    text += "\nMarked\n";
    for (const Run& run : comparison.runs)
      for (const std::string& mark : run.facts.marks) text += "  " + run.facts.name + ": " + mark + "\n";
    for (const std::string& reason : comparison.left_out) text += "  left out: " + reason + "\n";
  }
  text += "\nResult\n";
  if (!comparison.only_seeds.empty()) text += "  " + comparison.only_seeds + "\n";
  for (const Verdict& verdict : comparison.verdicts) text += "  " + verdict.sentence + "\n";
  return text;
}

} // namespace conclave::compare
