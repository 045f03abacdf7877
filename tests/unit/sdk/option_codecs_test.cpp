// Scalar options: what each type accepts, what it refuses with which words, and that writing reads back.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "conclave/options.hpp"
#include "conclave/random.hpp"

namespace conclave {
namespace {

template <class T>
struct Parsed {
  T value{};
  std::string problems;
};

template <class T>
Parsed<T> parse(const std::string& text, bool quoted = false, OptionSpec spec = {}) {
  Parsed<T> parsed;
  Diagnostics diagnostics;
  std::vector<ChildRequest> children;
  const BindContext context{"/base"};
  const bool good = detail::Codec<T>::parse(Value::scalar(text, {}, quoted), "k",
                                            {spec, context, diagnostics, children}, parsed.value);
  parsed.problems = diagnostics.render();
  EXPECT_EQ(good, parsed.problems.empty()) << text;
  return parsed;
}
template <class T>
std::string problem(const std::string& text, bool quoted = false) {
  return parse<T>(text, quoted).problems;
}

TEST(Codecs, Counts) {
  EXPECT_EQ(parse<Count>("100k").value, 100'000);
  EXPECT_EQ(parse<Count>("2M").value, 2'000'000);
  EXPECT_EQ(parse<Count>("1.5M").value, 1'500'000);
  EXPECT_EQ(parse<Count>("1_000").value, 1000);
  EXPECT_EQ(parse<Count>("3e6").value, 3'000'000);
  EXPECT_EQ(parse<Count>("1.25e3").value, 1250);
  EXPECT_EQ(parse<Count>("-2").value, -2);
  EXPECT_EQ(parse<Count>("999999999999999999").value, 999'999'999'999'999'999);
  EXPECT_EQ(parse<Count>("9T").value, 9'000'000'000'000);
  EXPECT_EQ(problem<Count>("1.5"), "k: '1.5' is not a whole number below 2^63: write a count without a fraction\n");
  EXPECT_EQ(problem<Count>("99999999T"),
            "k: '99999999T' is not a whole number below 2^63: write a count without a fraction\n");
  EXPECT_EQ(problem<Count>("2m"), "k: '2m' has the unknown unit 'm': use k, M, G or T, as in 100k\n");
  EXPECT_EQ(problem<Count>("two"), "k: expected a count, found 'two': write a count such as 100k or 2M\n");
  EXPECT_EQ(problem<Count>("2", true), "k: expected a count, found the quoted text '2': remove the quotes\n");
  for (const char* bad :
       {"", "-", "+", ".", "e3", "_1", "1_", "1__0", "1e", "0x10", "1e99999", "inf", "nan", "1 2", "１"})
    EXPECT_NE(problem<Count>(bad), "") << bad;
}

TEST(Codecs, SizesTimesAndShares) {
  EXPECT_EQ(parse<Bytes>("80GiB").value, 80ll << 30);
  EXPECT_EQ(parse<Bytes>("80 GiB").value, 80ll << 30);
  EXPECT_EQ(parse<Bytes>("80GB").value, 80'000'000'000);
  EXPECT_EQ(parse<Bytes>("1.5KiB").value, 1536);
  EXPECT_EQ(parse<Bytes>("7").value, 7);
  EXPECT_EQ(problem<Bytes>("80G"),
            "k: '80G' has the unknown unit 'G': use kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of "
            "1024)\n");
  EXPECT_DOUBLE_EQ(parse<Seconds>("250ms").value, 0.25);
  EXPECT_DOUBLE_EQ(parse<Seconds>("60s").value, 60);
  EXPECT_DOUBLE_EQ(parse<Seconds>("5m").value, 300);
  EXPECT_DOUBLE_EQ(parse<Seconds>("1.5h").value, 5400);
  EXPECT_DOUBLE_EQ(parse<Seconds>("2d").value, 172800);
  EXPECT_EQ(problem<Seconds>("2w"), "k: '2w' has the unknown unit 'w': use ms, s, m, h or d\n");
  EXPECT_EQ(problem<Seconds>("-2s"), "k: '-2s' is negative: give a time of at least 0s\n");
  EXPECT_EQ(parse<Fraction>("5%").value, 0.05) << "the nearest double, exactly";
  EXPECT_EQ(parse<Fraction>("0.05").value, 0.05);
  EXPECT_EQ(parse<Fraction>("100%").value, 1.0);
  EXPECT_EQ(problem<Fraction>("101%"), "k: '101%' is not a share of a whole: give 0% to 100%\n");
  EXPECT_EQ(problem<Fraction>("1.5"), "k: '1.5' is not a share of a whole: give a value in [0, 1], or 0% to 100%\n");
  EXPECT_EQ(parse<StepsOrFraction>("2k").value.steps, 2000);
  EXPECT_EQ(parse<StepsOrFraction>("7.5%").value.fraction, 0.075);
  EXPECT_EQ(problem<StepsOrFraction>("0.05"),
            "k: '0.05' is not a whole number of steps: write a share with %, as in 5%\n");
  EXPECT_EQ(problem<StepsOrFraction>("-5"), "k: '-5' is negative: give at least 0 steps\n");
}

TEST(Codecs, NumbersAndTruth) {
  EXPECT_EQ(parse<double>("1e-4").value, 1e-4);
  EXPECT_EQ(parse<double>("-.5").problems, "k: expected a number, found '-.5': write a number such as 1e-4\n");
  EXPECT_EQ(parse<double>("0.1").value, 0.1);
  EXPECT_EQ(parse<double>("1e-400").value, 0.0);
  EXPECT_EQ(problem<double>("1e400"), "k: '1e400' is too large: give a number below 1e308\n");
  EXPECT_EQ(problem<double>("5%"), "k: '5%' is a share, but this option takes a number: write it without %\n");
  EXPECT_EQ(problem<double>("1k"), "k: '1k' has a unit, which this option does not take: write a plain number\n");
  EXPECT_EQ(problem<double>("nan"), "k: expected a number, found 'nan': write a number such as 1e-4\n");
  EXPECT_EQ(parse<int>("12").value, 12);
  EXPECT_EQ(problem<int>("3000000000"), "k: '3000000000' is out of range: give a value below 2^31\n");
  EXPECT_EQ(problem<int>("010"),
            "k: '010' starts with a zero, which some readers take as octal: write it without the leading zero\n");
  EXPECT_EQ(parse<int>("0").value, 0);
  EXPECT_EQ(parse<std::int64_t>("9223372036854775807").value, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(parse<std::int64_t>("-9223372036854775808").value, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(parse<std::int64_t>("1e18").value, 1'000'000'000'000'000'000);
  EXPECT_EQ(parse<std::int64_t>("1000000000000000000").value, 1'000'000'000'000'000'000);
  EXPECT_EQ(parse<std::int64_t>("9223372036854775807.000000000000000000000").value,
            std::numeric_limits<std::int64_t>::max());
  for (const char* beyond :
       {"9223372036854775808", "-9223372036854775809", "1e19", "1e9999", "12345678901234567890123"})
    EXPECT_EQ(problem<std::int64_t>(beyond), "k: '" + std::string(beyond) +
                                                 "' is not a whole number below 2^63: write a whole number without a "
                                                 "fraction\n");
  EXPECT_EQ(parse<std::uint64_t>("18446744073709551615").value, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(parse<std::uint64_t>("-0").value, 0u);
  EXPECT_EQ(problem<std::uint64_t>("18446744073709551616"),
            "k: '18446744073709551616' is not a whole number below 2^64: write a whole number without a fraction\n");
  EXPECT_EQ(problem<std::uint64_t>("-1"), "k: '-1' is out of range: give a value of at least 0\n");
  EXPECT_EQ(parse<Bytes>("8388607.9999990463256835937500TiB").value,
            std::numeric_limits<std::int64_t>::max() - 1048575);
  // Digits beyond what a double keeps do not change its size.
  const std::string digits(350, '9');
  EXPECT_EQ(problem<double>(digits + ".5"),
            "k: '" + digits.substr(0, 60) + "...' is too large: give a number below 1e308\n");
  EXPECT_EQ(parse<double>("0." + std::string(390, '0') + "1").value, 0.0);
  EXPECT_EQ(parse<double>(std::string(300, '9') + ".5").value, 1e300);
  EXPECT_TRUE(parse<bool>("true").value);
  for (const char* bad : {"yes", "on", "True", "1", ""}) EXPECT_NE(problem<bool>(bad), "") << bad;
  EXPECT_EQ(problem<bool>("true", true),
            "k: expected true or false, found the quoted text 'true': remove the quotes\n");
}

TEST(Codecs, PathsStartWhereTheyWereWritten) {
  const auto path_at = [](const std::string& text, const Location& where) {
    Path path;
    Diagnostics diagnostics;
    std::vector<ChildRequest> children;
    const OptionSpec spec;
    const BindContext context{"/base"};
    EXPECT_TRUE(
        detail::Codec<Path>::parse(Value::scalar(text, where), "k", {spec, context, diagnostics, children}, path));
    return path.value;
  };
  const Location file{std::make_shared<const std::string>("/exp/base/a.yaml"), 3, 1};
  const Location command_line{std::make_shared<const std::string>("--set #1"), 0, 0};
  EXPECT_EQ(path_at("x/*.txt", file), "/exp/base/x/*.txt");
  EXPECT_EQ(path_at("../x.txt", file), "/exp/x.txt");
  EXPECT_EQ(path_at("/abs//y", file), "/abs/y");
  EXPECT_EQ(path_at("x", command_line), "/base/x");
  EXPECT_EQ(path_at("s3://bucket/x", file), "s3://bucket/x");
  EXPECT_EQ(path_at("", file), "");
}

TEST(Codecs, WhatIsWrittenReadsBack) {
  const RandomStream stream(3, "codecs");
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const double real = std::ldexp(stream.uniform(3 * i) - 0.5, static_cast<int>(stream.below(3 * i + 1, 400)) - 200);
    EXPECT_EQ(parse<double>(detail::Codec<double>::render(real)).value, real);
    const double share = stream.uniform(3 * i + 2);
    EXPECT_EQ(parse<Fraction>(detail::Codec<Fraction>::render(share)).value, share);
    const StepsOrFraction fraction = StepsOrFraction::of_fraction(share);
    EXPECT_EQ(parse<StepsOrFraction>(detail::Codec<StepsOrFraction>::render(fraction)).value.fraction, share);
    EXPECT_EQ(parse<Seconds>(detail::Codec<Seconds>::render(share * 1e3)).value, share * 1e3);
    // Integers of every size.
    const std::uint64_t bits = stream.bits(4 * i + 7'000'000) >> stream.below(4 * i + 8'000'000, 64);
    const auto integer = static_cast<std::int64_t>(bits);
    EXPECT_EQ(parse<std::uint64_t>(detail::Codec<std::uint64_t>::render(bits)).value, bits);
    EXPECT_EQ(parse<std::int64_t>(detail::Codec<std::int64_t>::render(integer)).value, integer);
    EXPECT_EQ(parse<Count>(detail::Codec<Count>::render(integer)).value, integer);
    EXPECT_EQ(parse<Bytes>(detail::Codec<Bytes>::render(integer)).value, integer);
    EXPECT_EQ(parse<int>(detail::Codec<int>::render(static_cast<int>(integer))).value, static_cast<int>(integer));
  }
  EXPECT_EQ(detail::Codec<double>::render(1e-4), "1e-4");
  EXPECT_EQ(detail::Codec<double>::render(1e-6), "1e-6");
  EXPECT_EQ(detail::Codec<double>::render(1e16), "1e16");
  EXPECT_EQ(detail::Codec<double>::render(3), "3");
  EXPECT_EQ(detail::Codec<StepsOrFraction>::render(StepsOrFraction::of_fraction(0.05)), "5%");
  EXPECT_EQ(detail::Codec<StepsOrFraction>::render(StepsOrFraction::of_fraction(0.0025)), "0.25%");
  EXPECT_EQ(detail::Codec<StepsOrFraction>::render(StepsOrFraction::of_fraction(1)), "100%");
  EXPECT_EQ(detail::Codec<StepsOrFraction>::render(StepsOrFraction::of_fraction(0)), "0%");
}

TEST(Codecs, TextIsQuotedWhereAReaderCouldTakeItForSomethingElse) {
  for (const char* plain : {"adamw", "source/jsonl", "/data/*.txt", "a-b_c.d"})
    EXPECT_EQ(detail::render_text(plain), plain);
  for (const char* other :
       {"", "true", "No", "null", "~", "1e5", "010", "a: b", "a #b", "-x", "[a]", "{a}", "*x", "&x", "!x", " a", "a,b"})
    EXPECT_EQ(detail::render_text(other), "\"" + std::string(other) + "\"");
  EXPECT_EQ(detail::render_text("a\"b\\c\nd\x01"), "\"a\\\"b\\\\c\\nd\\x01\"");
}

TEST(StepsOrFraction, ResolvesRoundedDown) {
  EXPECT_EQ(StepsOrFraction::of_fraction(0.05).resolve(100), 5);
  EXPECT_EQ(StepsOrFraction::of_fraction(0.29).resolve(100), 29) << "though .29 * 100 is below 29 in doubles";
  EXPECT_EQ(StepsOrFraction::of_fraction(0.05).resolve(99), 4);
  EXPECT_EQ(StepsOrFraction::of_steps(7).resolve(5), 7);
}

} // namespace
} // namespace conclave
