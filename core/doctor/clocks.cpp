// Readings of rank 0's clock through the store that ranks meet at.

#include "doctor/clocks.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

namespace conclave::doctor {
namespace {

constexpr double usual_skew = 1; ///< seconds: file times and logs of different nodes stay in order
constexpr int readings = 100;
constexpr std::chrono::milliseconds between_readings{10};

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

} // namespace

double clock_offset(const std::vector<ClockSample>& samples) {
  double least = samples.front().here - samples.front().there;
  for (const ClockSample& sample : samples) least = std::min(least, sample.here - sample.there);
  return least;
}

Result<double> measure_clock(Exchange& exchange) {
  static const std::string key = "rank 0's clock";
  if (exchange.rank() == 0) CONCLAVE_RETURN_IF_ERROR(exchange.store().set(key, std::to_string(now())));
  CONCLAVE_RETURN_IF_ERROR(exchange.barrier("clock"));
  std::vector<ClockSample> samples;
  for (int i = 0; i < readings; ++i) {
    if (exchange.rank() == 0) {
      CONCLAVE_RETURN_IF_ERROR(exchange.store().set(key, std::to_string(now())));
    } else {
      CONCLAVE_ASSIGN(const auto reading, exchange.store().find(key));
      if (reading) samples.push_back({std::strtod(reading->c_str(), nullptr), now()});
    }
    std::this_thread::sleep_for(between_readings);
  }
  return samples.empty() ? 0 : clock_offset(samples);
}

Check judge_clocks(const std::vector<double>& offsets, const std::vector<std::string>& nodes,
                   const Expectation& expected) {
  const auto [behind, ahead] = std::minmax_element(offsets.begin(), offsets.end());
  const double skew = *ahead - *behind, most = expected.clock_skew ? expected.clock_skew->value : usual_skew;
  const auto node = [&](auto at) { return nodes[static_cast<std::size_t>(at - offsets.begin())]; };
  const std::string figure = number_text(skew) + " s apart";
  if (skew <= most) return {"clocks of the nodes", Verdict::ok, figure, ""};
  return {"clocks of the nodes", Verdict::fail, figure + ": " + node(ahead) + " is ahead of " + node(behind),
          "at most " + number_text(most) + " s wanted: let chrony or ntpd set them (`chronyc tracking`)"};
}

} // namespace conclave::doctor
