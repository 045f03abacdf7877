// Numbers as a table and a sentence show them. NaN is "-".
#pragma once

#include <string>

namespace conclave::compare {

/// With so many digits behind the point.
std::string fixed(double value, int digits);
/// Three significant digits.
std::string short_number(double value);
/// 12.3k, 4.56M, 1.2G: powers of 1000.
std::string with_unit(double value, const char* unit = "");
/// "34 s", "12.3 min", "5.67 h".
std::string hours_text(double hours);
/// "p = 0.012", "p < 0.0001".
std::string p_text(double p);
/// Digits behind the point that show two significant ones of `uncertainty`; 3 to 6.
int digits_for(double uncertainty);

} // namespace conclave::compare
