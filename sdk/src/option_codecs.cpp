// How the scalar option types are read and written: numbers, counts, sizes, times, shares, paths and text.
//
// Numbers are read as exact decimals, so that `1.5M` is 1500000 and `5%` is the double nearest to 0.05, and what is
// written reads back as the same value. What this is not: the table that calls it (options.cpp).

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string_view>

#include "conclave/options.hpp"
#include "option_text.hpp"

namespace conclave::detail {
namespace {

// A decimal number as written: digits * 10^exponent.
struct Decimal {
  bool negative = false;
  std::string digits; // no zeros at either end; "0" for zero
  int exponent = 0;

  [[nodiscard]] double to_double() const {
    const std::string text = (negative ? "-" : "") + digits + "e" + std::to_string(exponent);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc::result_out_of_range) {
      const bool large = static_cast<std::ptrdiff_t>(digits.size()) + exponent > 0;
      return large ? std::numeric_limits<double>::infinity() : 0.0;
    }
    return value;
  }

  // this * factor as a whole number; false when it has a fraction or does not fit.
  template <class T>
  bool to_whole(std::int64_t factor, T& out) const {
    constexpr std::size_t most_digits = 38; // a value of so many is below 2^127
    if (digits == "0") {
      out = 0;
      return true;
    }
    if (digits.size() > most_digits) return false;
    unsigned __int128 value = 0;
    for (char digit : digits) value = value * 10 + static_cast<unsigned>(digit - '0');
    auto scale = static_cast<unsigned __int128>(factor);
    for (int i = exponent; i < 0; ++i) // each place after the point needs a two and a five
      for (const unsigned prime : {2u, 5u}) {
        auto& from = scale % prime == 0 ? scale : value;
        if (from % prime != 0) return false;
        from /= prime;
      }
    if (__builtin_mul_overflow(value, scale, &value)) return false;
    using Limits = std::numeric_limits<T>;
    const auto limit = negative ? -static_cast<__int128>(Limits::min()) : static_cast<__int128>(Limits::max());
    for (int i = 0; i < exponent && value <= static_cast<unsigned __int128>(limit); ++i) value *= 10;
    if (value > static_cast<unsigned __int128>(limit)) return false;
    out = static_cast<T>(negative ? -static_cast<__int128>(value) : static_cast<__int128>(value));
    return true;
  }
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes `-1_000.5e3` off the front of `text`; false when there is no number there. `octal` is set when a whole part of
// several digits starts with 0, which YAML readers understand differently.
bool take_decimal(std::string_view& text, Decimal& out, bool& octal) {
  constexpr std::size_t longest = 400; // more digits than any double needs
  std::size_t at = 0;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) out.negative = text[at++] == '-';
  const std::size_t whole_begin = at;
  std::string digits;
  const auto take_digits = [&] {
    const std::size_t begin = at;
    while (at < text.size() && (is_digit(text[at]) || (text[at] == '_' && at > begin && is_digit(text[at - 1]) &&
                                                       at + 1 < text.size() && is_digit(text[at + 1]))))
      if (text[at++] != '_') digits += text[at - 1];
    return at > begin;
  };
  if (!take_digits()) return false;
  octal = at - whole_begin > 1 && text[whole_begin] == '0';
  int exponent = 0;
  if (at < text.size() && text[at] == '.') {
    const std::size_t before = digits.size();
    ++at;
    take_digits();
    exponent -= static_cast<int>(digits.size() - before);
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    std::size_t end = at + 1;
    if (end < text.size() && text[end] == '+') ++end;
    int power = 0;
    const auto [stop, error] = std::from_chars(text.data() + end, text.data() + text.size(), power);
    if (error != std::errc{} || power > 9999 || power < -9999) return false;
    exponent += power;
    at = static_cast<std::size_t>(stop - text.data());
  }
  if (digits.size() > longest) return false;
  const std::size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) {
    out.digits = "0";
  } else {
    const std::size_t last = digits.find_last_not_of('0');
    out.digits = digits.substr(first, last + 1 - first);
    exponent += static_cast<int>(digits.size() - 1 - last);
  }
  out.exponent = exponent;
  text.remove_prefix(at);
  return true;
}

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
constexpr std::int64_t kilo = 1000, kibi = 1024;
constexpr std::array<Unit, 5> count_units = {
    {{"k", kilo}, {"K", kilo}, {"M", kilo* kilo}, {"G", kilo* kilo* kilo}, {"T", kilo* kilo* kilo* kilo}}};
constexpr std::array<Unit, 10> byte_units = {{{"B", 1},
                                              {"kB", kilo},
                                              {"KB", kilo},
                                              {"MB", kilo* kilo},
                                              {"GB", kilo* kilo* kilo},
                                              {"TB", kilo* kilo* kilo* kilo},
                                              {"KiB", kibi},
                                              {"MiB", kibi* kibi},
                                              {"GiB", kibi* kibi* kibi},
                                              {"TiB", kibi* kibi* kibi* kibi}}};

template <std::size_t N>
const Unit* find_unit(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units)
    if (unit.name == name) return &unit;
  return nullptr;
}

// One scalar being read: its value, key and scope, and how to complain about it.
struct Reader {
  const Value& value;
  const std::string& key;
  const ParseScope& scope;

  bool fail(std::string what, std::string fix) const {
    scope.diagnostics.error(value.where(), key, std::move(what), std::move(fix));
    return false;
  }
  bool expected(std::string_view thing, std::string_view example) const {
    return fail("expected " + std::string(thing) + ", found " + describe_value(value), "write " + std::string(example));
  }
  // Reads the number at the front; the rest is the unit. False after a diagnostic.
  bool number(std::string_view thing, std::string_view example, Decimal& decimal, std::string_view& unit) const {
    if (!value.is_scalar()) return expected(thing, example);
    if (value.quoted())
      return fail("expected " + std::string(thing) + ", found the quoted text " + describe_value(value),
                  "remove the quotes");
    unit = value.text();
    bool octal = false;
    if (!take_decimal(unit, decimal, octal)) return expected(thing, example);
    if (octal) {
      return fail(describe_value(value) + " starts with a zero, which some readers take as octal",
                  "write it without the leading zero");
    }
    if (unit.size() > 1 && unit.front() == ' ') unit.remove_prefix(1); // `80 GiB`
    return true;
  }
  template <class T>
  bool whole(const Decimal& decimal, std::int64_t factor, std::string_view thing, T& out) const {
    if (decimal.to_whole(factor, out)) return true;
    return fail(
        describe_value(value) + " is not a whole number below 2^" + std::to_string(std::numeric_limits<T>::digits),
        "write " + std::string(thing) + " without a fraction");
  }
  bool finite(const Decimal& decimal, double factor, double& out) const {
    out = decimal.to_double() * factor;
    if (std::isfinite(out)) return true;
    return fail(describe_value(value) + " is too large", "give a number below 1e308");
  }
  bool in_range(double number) const {
    const OptionSpec& spec = scope.spec;
    const bool low = spec.minimum && (number < *spec.minimum || (spec.minimum_exclusive && number == *spec.minimum));
    const bool high = spec.maximum && number > *spec.maximum;
    if (!low && !high) return true;
    return fail(describe_value(value) + " is out of range", "give a value " + describe_range(spec));
  }
};

} // namespace

bool Codec<bool>::parse(const Value& value, const std::string& key, const ParseScope& scope, bool& out) {
  const Reader reader{value, key, scope};
  if (value.is_scalar() && value.quoted() && (value.text() == "true" || value.text() == "false"))
    return reader.fail("expected true or false, found the quoted text " + describe_value(value), "remove the quotes");
  if (!value.is_scalar() || (value.text() != "true" && value.text() != "false"))
    return reader.fail("expected true or false, found " + describe_value(value), "write true or false");
  out = value.text() == "true";
  return true;
}
std::string Codec<bool>::render(const bool& value) { return value ? "true" : "false"; }

namespace {

template <class T>
bool parse_integer(const Value& value, const std::string& key, const ParseScope& scope, T& out) {
  const Reader reader{value, key, scope};
  Decimal decimal;
  std::string_view unit;
  T parsed = 0;
  if (!reader.number("a whole number", "a whole number such as 8", decimal, unit)) return false;
  if (!unit.empty())
    return reader.fail(describe_value(value) + " has a unit, which this option does not take",
                       "write a plain whole number");
  if (std::is_unsigned_v<T> && decimal.negative && decimal.digits != "0")
    return reader.fail(describe_value(value) + " is out of range", "give a value of at least 0");
  if (!reader.whole(decimal, 1, "a whole number", parsed) || !reader.in_range(static_cast<double>(parsed)))
    return false;
  out = parsed;
  return true;
}

} // namespace

bool Codec<std::int64_t>::parse(const Value& value, const std::string& key, const ParseScope& scope,
                                std::int64_t& out) {
  return parse_integer(value, key, scope, out);
}
std::string Codec<std::int64_t>::render(const std::int64_t& value) { return std::to_string(value); }

bool Codec<std::uint64_t>::parse(const Value& value, const std::string& key, const ParseScope& scope,
                                 std::uint64_t& out) {
  return parse_integer(value, key, scope, out);
}
std::string Codec<std::uint64_t>::render(const std::uint64_t& value) { return std::to_string(value); }

bool Codec<int>::parse(const Value& value, const std::string& key, const ParseScope& scope, int& out) {
  std::int64_t wide = 0;
  if (!Codec<std::int64_t>::parse(value, key, scope, wide)) return false;
  if (wide < std::numeric_limits<int>::min() || wide > std::numeric_limits<int>::max())
    return Reader{value, key, scope}.fail(describe_value(value) + " is out of range", "give a value below 2^31");
  out = static_cast<int>(wide);
  return true;
}
std::string Codec<int>::render(const int& value) { return std::to_string(value); }

bool Codec<double>::parse(const Value& value, const std::string& key, const ParseScope& scope, double& out) {
  const Reader reader{value, key, scope};
  Decimal decimal;
  std::string_view unit;
  double parsed = 0;
  if (!reader.number("a number", "a number such as 1e-4", decimal, unit)) return false;
  if (unit == "%")
    return reader.fail(describe_value(value) + " is a share, but this option takes a number", "write it without %");
  if (!unit.empty())
    return reader.fail(describe_value(value) + " has a unit, which this option does not take", "write a plain number");
  if (!reader.finite(decimal, 1, parsed) || !reader.in_range(parsed)) return false;
  out = parsed;
  return true;
}
std::string Codec<double>::render(const double& value) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), end);
  // `1e-04` and `1e+16` as people write them: 1e-4, 1e16.
  if (const std::size_t e = text.find('e'); e != std::string::npos) {
    const bool negative = text[e + 1] == '-';
    const std::size_t digits = text.find_first_not_of("+-0", e + 1);
    text = text.substr(0, e + 1) + (negative ? "-" : "") + text.substr(digits);
  }
  return text;
}

bool Codec<std::string>::parse(const Value& value, const std::string& key, const ParseScope& scope, std::string& out) {
  if (!value.is_scalar())
    return Reader{value, key, scope}.fail("expected text, found " + describe_value(value), "write one value");
  out = value.text();
  return true;
}
std::string Codec<std::string>::render(const std::string& value) { return render_text(value); }

bool Codec<Path>::parse(const Value& value, const std::string& key, const ParseScope& scope, Path& out) {
  if (!value.is_scalar())
    return Reader{value, key, scope}.fail("expected a path, found " + describe_value(value), "write one path");
  std::filesystem::path path = value.text();
  if (value.text().find('\0') != std::string::npos)
    return Reader{value, key, scope}.fail("a path cannot hold a zero byte", "remove it");
  if (!path.empty() && value.text().find("://") == std::string::npos) {
    const char* home = std::getenv("HOME");
    if (home != nullptr && (value.text() == "~" || value.text().starts_with("~/")))
      path = home + value.text().substr(1);
    if (path.is_relative()) {
      const Location& where = value.where();
      const bool written_in_file = where.file && where.line > 0;
      path = (written_in_file ? std::filesystem::path(*where.file).parent_path()
                              : std::filesystem::path(scope.context.base_directory)) /
             path;
    }
    std::error_code error;
    if (const auto absolute = std::filesystem::absolute(path, error); !error) path = absolute;
    path = path.lexically_normal();
  }
  out.value = path.string();
  return true;
}
std::string Codec<Path>::render(const Path& value) { return render_text(value.value); }

bool Codec<Count>::parse(const Value& value, const std::string& key, const ParseScope& scope, Count& out) {
  const Reader reader{value, key, scope};
  Decimal decimal;
  std::string_view unit;
  if (!reader.number("a count", "a count such as 100k or 2M", decimal, unit)) return false;
  const Unit* known = find_unit(count_units, unit);
  if (!unit.empty() && known == nullptr)
    return reader.fail(describe_value(value) + " has the unknown unit '" + std::string(unit.substr(0, 20)) + "'",
                       "use k, M, G or T, as in 100k");
  std::int64_t parsed = 0;
  if (!reader.whole(decimal, known ? known->factor : 1, "a count", parsed) ||
      !reader.in_range(static_cast<double>(parsed)))
    return false;
  out = parsed;
  return true;
}
std::string Codec<Count>::render(const Count& value) { return std::to_string(value.value); }

bool Codec<Bytes>::parse(const Value& value, const std::string& key, const ParseScope& scope, Bytes& out) {
  const Reader reader{value, key, scope};
  Decimal decimal;
  std::string_view unit;
  if (!reader.number("a size", "a size such as 80GiB", decimal, unit)) return false;
  const Unit* known = find_unit(byte_units, unit);
  if (!unit.empty() && known == nullptr) {
    return reader.fail(describe_value(value) + " has the unknown unit '" + std::string(unit.substr(0, 20)) + "'",
                       "use kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024)");
  }
  std::int64_t parsed = 0;
  if (!reader.whole(decimal, known ? known->factor : 1, "a size", parsed) ||
      !reader.in_range(static_cast<double>(parsed)))
    return false;
  out = parsed;
  return true;
}
std::string Codec<Bytes>::render(const Bytes& value) { return std::to_string(value.value); }

bool Codec<Seconds>::parse(const Value& value, const std::string& key, const ParseScope& scope, Seconds& out) {
  struct TimeUnit {
    std::string_view name;
    double factor;
  };
  static constexpr std::array<TimeUnit, 6> units = {
      {{"", 1}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}}};
  const Reader reader{value, key, scope};
  Decimal decimal;
  std::string_view unit;
  if (!reader.number("a time", "a time such as 60s", decimal, unit)) return false;
  for (const TimeUnit& known : units) {
    if (unit != known.name) continue;
    double parsed = 0;
    if (known.factor < 1) decimal.exponent -= 3; // exact, where a product with 1e-3 is not
    if (!reader.finite(decimal, known.factor < 1 ? 1 : known.factor, parsed) || !reader.in_range(parsed)) return false;
    if (parsed < 0) return reader.fail(describe_value(value) + " is negative", "give a time of at least 0s");
    out = parsed;
    return true;
  }
  return reader.fail(describe_value(value) + " has the unknown unit '" + std::string(unit.substr(0, 20)) + "'",
                     "use ms, s, m, h or d");
}
std::string Codec<Seconds>::render(const Seconds& value) { return Codec<double>::render(value.value) + "s"; }

namespace {

// A share in [0, 1] from a number and `%` or nothing.
bool parse_share(const Reader& reader, Decimal decimal, bool percent, double& out) {
  if (percent) decimal.exponent -= 2;
  const double parsed = decimal.to_double();
  if (parsed < 0 || parsed > 1)
    return reader.fail(describe_value(reader.value) + " is not a share of a whole",
                       percent ? "give 0% to 100%" : "give a value in [0, 1], or 0% to 100%");
  out = parsed;
  return true;
}

} // namespace

bool Codec<Fraction>::parse(const Value& value, const std::string& key, const ParseScope& scope, Fraction& out) {
  const Reader reader{value, key, scope};
  Decimal decimal;
  std::string_view unit;
  double parsed = 0;
  if (!reader.number("a share", "a share such as 5% or 0.05", decimal, unit)) return false;
  if (!unit.empty() && unit != "%") return reader.expected("a share", "a share such as 5% or 0.05");
  if (!parse_share(reader, decimal, unit == "%", parsed) || !reader.in_range(parsed)) return false;
  out = parsed;
  return true;
}
std::string Codec<Fraction>::render(const Fraction& value) { return Codec<double>::render(value.value); }

bool Codec<StepsOrFraction>::parse(const Value& value, const std::string& key, const ParseScope& scope,
                                   StepsOrFraction& out) {
  constexpr std::string_view example = "steps such as 2k, or a share of all steps such as 5%";
  const Reader reader{value, key, scope};
  Decimal decimal;
  std::string_view unit;
  if (!reader.number("a number of steps or a share", example, decimal, unit)) return false;
  if (unit == "%") {
    double share = 0;
    if (!parse_share(reader, decimal, true, share)) return false;
    out = StepsOrFraction::of_fraction(share);
    return true;
  }
  const Unit* known = find_unit(count_units, unit);
  if (!unit.empty() && known == nullptr) return reader.expected("a number of steps or a share", example);
  std::int64_t steps = 0;
  if (!decimal.to_whole(known ? known->factor : 1, steps))
    return reader.fail(describe_value(value) + " is not a whole number of steps", "write a share with %, as in 5%");
  if (steps < 0) return reader.fail(describe_value(value) + " is negative", "give at least 0 steps");
  if (!reader.in_range(static_cast<double>(steps))) return false;
  out = StepsOrFraction::of_steps(steps);
  return true;
}
std::string Codec<StepsOrFraction>::render(const StepsOrFraction& value) {
  if (value.fraction < 0) return std::to_string(value.steps);
  // Moves the point by two places in the text, so that reading it gives the same double.
  const std::string share = Codec<double>::render(value.fraction);
  std::string_view rest = share;
  Decimal decimal;
  bool octal = false;
  take_decimal(rest, decimal, octal);
  decimal.exponent += 2;
  std::string text = decimal.digits;
  if (decimal.exponent >= 0 || text == "0") {
    if (text != "0") text.append(static_cast<std::size_t>(decimal.exponent), '0');
  } else if (const auto places = static_cast<std::size_t>(-decimal.exponent); places < text.size()) {
    text.insert(text.size() - places, ".");
  } else {
    text = "0." + std::string(places - text.size(), '0') + text;
  }
  return text + "%";
}

} // namespace conclave::detail

namespace conclave {

std::int64_t StepsOrFraction::resolve(std::int64_t total) const {
  if (fraction < 0) return steps;
  // 5 % of 100 is 5, though .05 * 100 may come out just below: allow for the rounding of the product.
  const double exact = fraction * static_cast<double>(total);
  return static_cast<std::int64_t>(std::floor(exact + 1e-9 * (1 + std::abs(exact))));
}

} // namespace conclave
