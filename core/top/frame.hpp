// render(): a View as lines for a terminal.
#pragma once

#include <string>
#include <vector>

#include "top/view.hpp"

namespace conclave::top {

struct FrameSize {
  int columns = 80, rows = 24;
};

/// At most `rows` lines of at most `columns` columns, in UTF-8, without line ends. `colour` adds ANSI sequences. `trouble`: why
/// the view is not up to date; "" when it is.
std::vector<std::string> render(const View& view, FrameSize size, bool colour, const std::string& trouble = {});

/// One line of `columns` block characters for each of `rows` rows, the top first: the mean of the values that fall into each
/// column, scaled from the least to the most. A column whose values are not finite is '!'. No spaces at the ends.
std::vector<std::string> curve(const std::vector<double>& values, int columns, int rows);

/// "3 d 04:05", "04:05:06".
std::string time_text(double seconds);
/// Three digits with k, M, G, T: "1.67M", "0.00123", "2.4e-07".
std::string short_number(double value);

} // namespace conclave::top
