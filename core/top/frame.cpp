// Header, curves, experts, domains.

#include "top/frame.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

namespace conclave::top {
namespace {

enum class Style { plain, bold, dim, green, yellow, red, cyan };

const char* sequence(Style style) {
  switch (style) {
    case Style::plain: return "";
    case Style::bold: return "\x1b[1m";
    case Style::dim: return "\x1b[2m";
    case Style::green: return "\x1b[32m";
    case Style::yellow: return "\x1b[33m";
    case Style::red: return "\x1b[31m";
    case Style::cyan: return "\x1b[36m";
  }
  return "";
}

constexpr std::array<const char*, 9> blocks = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr double silent_for_long = 300;     ///< seconds
constexpr double uneven = 2, collapsed = 4; ///< load of the fullest expert over the mean
constexpr int label_columns = 24;
constexpr int most_curve_rows = 8;

/// Text in styles, cut at the terminal's edge. A character is taken to be one column wide.
class Row {
 public:
  Row(int columns, bool colour) : left_(columns), colour_(colour) {}

  Row& add(const std::string& text, Style style = Style::plain) {
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = at + 1;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end; // of one character
      if (left_ == 0) break;
      --left_;
      const bool control = static_cast<unsigned char>(text[at]) < 0x20;
      shown += control ? "?" : text.substr(at, end - at); // names may hold anything
      at = end;
    }
    const bool styled = colour_ && style != Style::plain && !shown.empty();
    text_ += styled ? sequence(style) + shown + "\x1b[0m" : shown;
    return *this;
  }
  Row& to_column(int column, int columns) {
    const int here = columns - left_;
    return column > here ? add(std::string(static_cast<std::size_t>(column - here), ' ')) : *this;
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  int left_;
  bool colour_;
  std::string text_;
};

std::string grouped(std::int64_t value) {
  std::string digits = std::to_string(value), out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ' ';
    out += digits[i];
  }
  return out;
}

std::string bar(double share, int columns) {
  const int eighths = static_cast<int>(std::clamp(share, 0.0, 1.0) * columns * 8);
  static constexpr std::array<const char*, 8> parts = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  text += parts[static_cast<std::size_t>(eighths % 8)];
  for (int i = (eighths + 7) / 8; i < columns; ++i) text += "░";
  return text;
}

class Frame {
 public:
  Frame(const View& view, FrameSize size, bool colour, const std::string& trouble)
      : view_(view), size_{std::max(size.columns, 1), std::max(size.rows, 1)}, colour_(colour), trouble_(trouble) {}

  std::vector<std::string> lines() {
    header();
    const int domains = view_.held_out.empty() ? 0 : 1, ended = bad_ends() > 0 ? 1 : 0;
    const int left = size_.rows - static_cast<int>(lines_.size()) - domains - ended - 1; // the footer
    const int layers = static_cast<int>(view_.experts.size());
    const int experts = layers == 0 ? 0 : std::min(layers + 1, std::max(2, left / 3));
    curves(std::clamp((left - experts) / 4, 1, most_curve_rows));
    expert_bars(experts - 1);
    if (domains > 0) held_out();
    if (ended > 0) ends();
    lines_.resize(std::min(lines_.size(), static_cast<std::size_t>(size_.rows - 1)));
    footer();
    return std::move(lines_);
  }

 private:
  Row row() const { return {size_.columns, colour_}; }
  void push(Row& row) { lines_.push_back(row.take()); }

  int bad_ends() const {
    return static_cast<int>(std::count_if(view_.ended.begin(), view_.ended.end(),
                                          [](const auto& end) { return !end.second.starts_with("0:"); }));
  }

  void header() {
    const double share =
        view_.total_steps > 0 ? static_cast<double>(view_.step) / static_cast<double>(view_.total_steps) : 0;
    Row first = row();
    first.add(view_.name.empty() ? "a run" : view_.name, Style::bold);
    first.add("  step " + grouped(view_.step) + " of " + grouped(view_.total_steps));
    if (view_.attempt > 0) first.add(", attempt " + std::to_string(view_.attempt + 1));
    first.add(", " + std::to_string(view_.ranks) + (view_.ranks == 1 ? " rank" : " ranks"));
    push(first);

    char percent[16];
    std::snprintf(percent, sizeof percent, " %5.1f %%", 100 * share);
    const double left = view_.step_seconds * static_cast<double>(view_.total_steps - view_.step);
    std::string end = percent;
    if (view_.exit_code)
      end += *view_.exit_code == 0 ? ", done" : ", ended with " + std::to_string(*view_.exit_code);
    else if (view_.step_seconds > 0)
      end += ", " + time_text(left) + " left";
    Row second = row();
    second.add(bar(share, std::max(0, size_.columns - static_cast<int>(end.size()))), Style::green).add(end);
    push(second);

    Row third = row();
    third.add("step " + short_number(view_.step_seconds) + " s, data wait " + short_number(view_.data_wait_seconds) +
              " s");
    third.add(view_.checkpoint ? ", checkpoint at " + grouped(*view_.checkpoint) : ", no checkpoint yet");
    if (!view_.exit_code)
      third.add(", heard " + time_text(view_.silent_seconds) + " ago",
                view_.silent_seconds > silent_for_long ? Style::red : Style::plain);
    push(third);
  }

  template <class F>
  void one_curve(const char* title, int rows, const F& of) {
    std::vector<double> values;
    values.reserve(view_.points.size());
    double least = std::numeric_limits<double>::infinity(), most = -least;
    for (const Point& point : view_.points) {
      values.push_back(of(point));
      if (!std::isfinite(values.back())) continue;
      least = std::min(least, values.back());
      most = std::max(most, values.back());
    }
    const std::vector<std::string> drawn = curve(values, std::max(0, size_.columns - label_columns), rows);
    for (int i = 0; i < rows; ++i) {
      Row line = row();
      if (i == 0) {
        line.add(title, Style::bold).to_column(14, size_.columns);
        line.add(values.empty() ? "-" : short_number(values.back()));
      } else if (i == 1 && least <= most) {
        line.add(short_number(least) + " to " + short_number(most), Style::dim);
      }
      line.to_column(label_columns, size_.columns).add(drawn[static_cast<std::size_t>(i)], Style::cyan);
      push(line);
    }
  }

  void curves(int rows) {
    one_curve("loss", rows, [](const Point& point) { return point.loss; });
    one_curve("learning rate", rows, [](const Point& point) { return point.learning_rate; });
    one_curve("tokens/s", rows, [](const Point& point) { return point.tokens_per_second; });
    one_curve("gradient norm", rows, [](const Point& point) { return point.grad_norm; });
  }

  /// Those that are the most uneven, where not all have room; in their order.
  std::vector<const Layer*> shown_layers(int rows) const {
    std::vector<const Layer*> layers;
    for (const Layer& layer : view_.experts) layers.push_back(&layer);
    if (static_cast<int>(layers.size()) <= rows) return layers;
    std::stable_sort(layers.begin(), layers.end(),
                     [](const Layer* a, const Layer* b) { return a->fullest > b->fullest; });
    layers.resize(static_cast<std::size_t>(std::max(rows, 0)));
    std::sort(layers.begin(), layers.end()); // their places in the view
    return layers;
  }

  void expert_bars(int rows) {
    if (rows < 1) return;
    const std::vector<const Layer*> layers = shown_layers(rows);
    Row title = row();
    title.add("experts", Style::bold).add(": the fullest over the mean, and each");
    if (layers.size() < view_.experts.size())
      title.add("; most uneven of " + std::to_string(view_.experts.size()) + " layers");
    push(title);
    for (const Layer* layer : layers) {
      Row line = row();
      line.add("layer " + layer->name).to_column(14, size_.columns);
      line.add(short_number(layer->fullest), layer->fullest > collapsed ? Style::red
                                             : layer->fullest > uneven  ? Style::yellow
                                                                        : Style::plain);
      line.to_column(label_columns, size_.columns);
      line.add(loads(layer->load, std::max(0, size_.columns - label_columns)), Style::green);
      push(line);
    }
  }

  /// A block for each expert, half as high as can be for the mean load; several experts share one where they are many.
  static std::string loads(const std::vector<double>& load, int columns) {
    double sum = 0;
    for (const double tokens : load) sum += tokens;
    if (sum <= 0 || columns == 0) return {};
    const std::size_t each = (load.size() + static_cast<std::size_t>(columns) - 1) / static_cast<std::size_t>(columns);
    std::string text;
    for (std::size_t begin = 0; begin < load.size(); begin += each) {
      double most = 0;
      for (std::size_t i = begin; i < std::min(begin + each, load.size()); ++i) most = std::max(most, load[i]);
      const double over_mean = most * static_cast<double>(load.size()) / sum;
      text += blocks[static_cast<std::size_t>(std::clamp(std::lround(4 * over_mean), 0L, 8L))];
    }
    return text;
  }

  void held_out() {
    Row line = row();
    line.add("held-out nll", Style::bold);
    const char* separator = "  ";
    for (const auto& [domain, nll] : view_.held_out) {
      line.add(separator + domain + " " + short_number(nll));
      separator = ", ";
    }
    push(line);
  }

  void ends() {
    const auto first = std::find_if(view_.ended.begin(), view_.ended.end(),
                                    [](const auto& end) { return !end.second.starts_with("0:"); });
    Row line = row();
    line.add(std::to_string(bad_ends()) + " of " + std::to_string(view_.ranks) + " ranks ended badly; rank " +
                 std::to_string(first->first) + " with " + first->second,
             Style::red);
    push(line);
  }

  void footer() {
    Row line = row();
    if (trouble_.empty())
      line.add("q quits", Style::dim);
    else
      line.add(trouble_, Style::red);
    push(line);
  }

  const View& view_;
  FrameSize size_;
  bool colour_;
  const std::string& trouble_;
  std::vector<std::string> lines_;
};

} // namespace

std::vector<std::string> curve(const std::vector<double>& values, int columns, int rows) {
  std::vector<std::string> lines(static_cast<std::size_t>(rows));
  const std::size_t width = std::min(values.size(), static_cast<std::size_t>(columns));
  std::vector<double> means(width);
  double least = std::numeric_limits<double>::infinity(), most = -least;
  for (std::size_t column = 0; column < width; ++column) {
    const std::size_t begin = column * values.size() / width, end = (column + 1) * values.size() / width;
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += values[i];
    means[column] = sum / static_cast<double>(end - begin); // not finite when one of them is not
    if (!std::isfinite(means[column])) continue;
    least = std::min(least, means[column]);
    most = std::max(most, means[column]);
  }
  for (const double mean : means) {
    // In eighths of a row, at least one: what is there is seen.
    const double share = most > least ? (mean - least) / (most - least) : 0.5;
    const long height = std::isfinite(mean) ? 1 + std::lround(share * (8.0 * rows - 1)) : 0;
    for (int row = 0; row < rows; ++row) {
      const long above = height - 8L * (rows - 1 - row);
      std::string& line = lines[static_cast<std::size_t>(row)];
      if (!std::isfinite(mean))
        line += row + 1 == rows ? "!" : " ";
      else
        line += blocks[static_cast<std::size_t>(std::clamp(above, 0L, 8L))];
    }
  }
  for (std::string& line : lines) line.resize(line.find_last_not_of(' ') + 1);
  return lines;
}

std::string time_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<long long>(std::min(seconds, 1e12));
  char text[48];
  if (whole >= 86400)
    std::snprintf(text, sizeof text, "%lld d %02lld:%02lld", whole / 86400, whole / 3600 % 24, whole / 60 % 60);
  else
    std::snprintf(text, sizeof text, "%02lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  return text;
}

std::string short_number(double value) {
  static constexpr std::array<const char*, 5> units = {"", "k", "M", "G", "T"};
  std::size_t unit = 0;
  double shown = value;
  for (; std::abs(shown) >= 999.5 && unit + 1 < units.size(); ++unit) shown /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.4g" : "%.3g", shown);
  return std::string(text) + (std::isfinite(value) ? units[unit] : "");
}

std::vector<std::string> render(const View& view, FrameSize size, bool colour, const std::string& trouble) {
  return Frame(view, size, colour, trouble).lines();
}

} // namespace conclave::top
