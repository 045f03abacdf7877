// The batches in words.

#include "run/batch_report.hpp"

#include <cstdio>

namespace conclave {

std::vector<std::string> describe_batches(const data::BatchPlan& plan, const data::TokenStore& store,
                                          std::int64_t steps) {
  // Up to four passes over a text teach nearly as much as new text does (Muennighoff et al., "Scaling data-constrained
  // language models", 2023).
  constexpr double many_passes = 4;
  const auto by_domain = [&store](const char* format, const std::vector<double>& values) {
    std::string text;
    for (std::size_t domain = 0; domain < values.size(); ++domain) {
      char number[32];
      std::snprintf(number, sizeof number, format, values[domain]);
      text += (text.empty() ? "" : ", ") + store.domain_name(domain) + " " + number;
    }
    return text;
  };
  std::vector<std::string> lines;
  for (const data::PlanStage& stage : plan.stages()) {
    std::vector<double> percents = stage.shares;
    for (double& share : percents) share *= 100;
    lines.push_back("batches: from step " + std::to_string(stage.first) + " on up to " + std::to_string(stage.length) +
                    " tokens a sequence; " + by_domain("%.4g %%", percents));
  }
  const std::vector<double> passes = plan.passes(steps);
  lines.push_back("batches: passes over each domain in " + std::to_string(steps) +
                  " steps: " + by_domain("%.3g", passes));
  for (std::size_t domain = 0; domain < passes.size(); ++domain)
    if (passes[domain] > many_passes)
      lines.push_back("batches: " + store.domain_name(domain) +
                      " is repeated often: beyond about four passes text teaches less each time; lower its share, or "
                      "give it more text");
  return lines;
}

} // namespace conclave
