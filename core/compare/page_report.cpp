// The page: a template, a plotting library, the comparison as JSON, and the curves packed.
//
// A curve's values are 16-bit steps on a scale of its own, logarithmic where all are positive: no screen shows more, two
// hundred runs of ten thousand steps stay below 30 MB, and the exact numbers are in metrics.jsonl. A curve that is straight
// between a few hundred of its points (steps, tokens, hours) is those points alone.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "compare/json_report.hpp"
#include "compare/page_parts.hpp"
#include "compare/report.hpp"
#include "page/page.hpp"

namespace conclave::compare {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint16_t missing = 65535, highest = 65534;
constexpr std::size_t knots = 257;
constexpr double straight_enough = 1e-3; // of the curve's range

std::string base64(const std::string& bytes) {
  static constexpr char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t at) -> std::uint32_t {
      return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0U;
    };
    const std::uint32_t word = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (const unsigned shift : {18U, 12U, 6U, 0U}) out += letters[word >> shift & 63U];
  }
  for (std::size_t padding = (3 - bytes.size() % 3) % 3; padding > 0; --padding) out[out.size() - padding] = '=';
  return out;
}

/// Little-endian 16-bit values, appended.
void append(std::string& bytes, std::uint16_t value) {
  bytes += static_cast<char>(value & 255U);
  bytes += static_cast<char>(value >> 8U);
}

/// Values as {n, scale} and 16-bit steps at the end of `bytes`.
Json pack_values(const std::vector<double>& values, std::string& bytes) {
  double least = HUGE_VAL, most = -HUGE_VAL;
  for (const double value : values)
    if (std::isfinite(value)) {
      least = std::min(least, value);
      most = std::max(most, value);
    }
  if (least > most) return {{"n", 0}};
  const bool logarithmic = least > 0;
  const double low = logarithmic ? std::log(least) : least, high = logarithmic ? std::log(most) : most;
  for (const double value : values) {
    const double on_scale = logarithmic ? std::log(value) : value;
    append(bytes, !std::isfinite(value) || !std::isfinite(on_scale) ? missing
                  : high > low ? static_cast<std::uint16_t>(std::lround((on_scale - low) / (high - low) * highest))
                               : std::uint16_t{0});
  }
  return {{"n", values.size()}, {"low", low}, {"high", high}, {"log", logarithmic}};
}

/// An ascending axis: its knots where it is straight between them, else every value as a 32-bit float.
Json pack_axis(const std::vector<double>& values) {
  const std::size_t n = values.size();
  const std::size_t count = std::min(n, knots);
  std::vector<double> at(count);
  const auto place = [&](std::size_t k) { return count < 2 ? 0 : k * (n - 1) / (count - 1); };
  for (std::size_t k = 0; k < count; ++k) at[k] = values[place(k)];
  const double range = n > 0 ? values.back() - values.front() : 0;
  double worst = 0;
  for (std::size_t k = 0; k + 1 < count; ++k)
    for (std::size_t i = place(k); i < place(k + 1); ++i) {
      const double share = static_cast<double>(i - place(k)) / static_cast<double>(place(k + 1) - place(k));
      worst = std::max(worst, std::abs(at[k] + share * (at[k + 1] - at[k]) - values[i]));
    }
  if (worst <= straight_enough * range) return {{"n", n}, {"knots", at}};
  std::string bytes(n * sizeof(float), '\0');
  for (std::size_t i = 0; i < n; ++i) {
    const auto value = static_cast<float>(values[i]);
    std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
  }
  return {{"n", n}, {"floats", base64(bytes)}};
}

Json evaluations(const Run& run) {
  Json steps = Json::array(), nll = Json::array(), bits = Json::array(), domains = Json::object();
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  for (const Evaluated& evaluated : run.curves.evaluations) {
    steps.push_back(evaluated.step);
    nll.push_back(number(evaluated.all.nll));
    bits.push_back(number(evaluated.all.bits_per_byte));
    for (const auto& [domain, score] : evaluated.domains) domains[domain].push_back(number(score.nll));
  }
  return {{"step", steps}, {"nll", nll}, {"bits_per_byte", bits}, {"domains", domains}};
}

} // namespace

bool has_page() { return page::has_library(); }

std::string to_html(const Comparison& comparison) {
  struct Metric {
    const char *key, *title;
    std::vector<double> Curves::*values;
  };
  static constexpr std::array<Metric, 6> metrics = {
      {{"nll", "training nll (nats)", &Curves::nll},
       {"loss", "loss (nats)", &Curves::loss},
       {"grad_norm", "gradient norm", &Curves::grad_norm},
       {"learning_rate", "learning rate", &Curves::learning_rate},
       {"tokens_per_second", "tokens/s", &Curves::tokens_per_second},
       {"imbalance", "fullest expert over the mean", &Curves::imbalance}}};
  Json json = as_json(comparison);
  json["metrics"] = Json::array();
  for (std::size_t i = 0; i < comparison.runs.size(); ++i) {
    const Run& run = comparison.runs[i];
    json["runs"][i]["axes"] = {{"step", pack_axis({run.curves.step.begin(), run.curves.step.end()})},
                               {"tokens", pack_axis(run.curves.tokens)},
                               {"hours", pack_axis(run.curves.hours)},
                               {"flops_per_token", run.summary.tokens > 0 && std::isfinite(run.summary.flops)
                                                       ? Json(run.summary.flops / run.summary.tokens)
                                                       : Json(nullptr)}};
    json["runs"][i]["evaluations"] = evaluations(run);
  }
  std::string blocks;
  for (const Metric& metric : metrics) {
    std::string bytes;
    Json scales = Json::array();
    for (const Run& run : comparison.runs) scales.push_back(pack_values(run.curves.*metric.values, bytes));
    if (bytes.empty()) continue;
    json["metrics"].push_back({{"key", metric.key}, {"title", metric.title}, {"scales", std::move(scales)}});
    blocks +=
        std::string("<script type=\"text/plain\" id=\"curves-") + metric.key + "\">" + base64(bytes) + "</script>\n";
  }
  return page::replaced(page::make(page_parts(), json), "<!--CURVES-->", blocks);
}

} // namespace conclave::compare
