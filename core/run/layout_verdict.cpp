// Comparing the steps of two runs.

#include "run/layout_verdict.hpp"

#include <algorithm>
#include <cmath>

namespace conclave {
namespace {

/// Relative to `expected` where that is above 1, absolute below; infinite where one of them is no number.
double difference(double found, double expected) {
  if (std::isnan(found) && std::isnan(expected)) return 0;
  const double apart = std::abs(found - expected) / std::max(1.0, std::abs(expected));
  return std::isfinite(apart) ? apart : HUGE_VAL;
}

/// "" when both steps routed alike.
std::string routing_difference(const RecordedStep& found, const RecordedStep& expected) {
  for (std::size_t layer = 0; layer < std::min(found.counters.size(), expected.counters.size()); ++layer) {
    const auto &ours = found.counters[layer].second, &theirs = expected.counters[layer].second;
    for (std::size_t e = 0; e < std::min(ours.size(), theirs.size()); ++e)
      if (ours[e] != theirs[e])
        return "step " + std::to_string(found.step) + ", layer " + std::to_string(found.counters[layer].first) +
               ", expert " + std::to_string(e) + ": " + std::to_string(static_cast<std::int64_t>(ours[e])) +
               " tokens, one rank " + std::to_string(static_cast<std::int64_t>(theirs[e]));
  }
  return {};
}

} // namespace

std::string VerifiedLayout::name() const {
  std::string text;
  const auto add = [&text](const char* what, int degree) {
    if (degree > 1) text += (text.empty() ? "" : " ") + std::string(what) + std::to_string(degree);
  };
  add("pp", pipeline);
  add("vp", virtual_stages);
  add("dp", data);
  add("tp", tensor);
  add("ep", expert);
  return text.empty() ? "1 rank" : text;
}

void compare_steps(const std::vector<RecordedStep>& found, const std::vector<RecordedStep>& expected,
                   LayoutVerdict& verdict) {
  if (found.size() != expected.size()) {
    verdict.failure = "it took " + std::to_string(found.size()) + " steps, one rank " + std::to_string(expected.size());
    return;
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    const RecordedStep &ours = found[i], &theirs = expected[i];
    verdict.parted = routing_difference(ours, theirs);
    if (!verdict.parted.empty()) return;
    verdict.loss_difference =
        std::max({verdict.loss_difference, difference(ours.loss, theirs.loss), difference(ours.nll, theirs.nll)});
    verdict.norm_difference = std::max(verdict.norm_difference, difference(ours.grad_norm, theirs.grad_norm));
  }
}

void judge(LayoutVerdict& verdict, double tolerance, Parting parting) {
  verdict.same = verdict.failure.empty() && (parting == Parting::allowed || verdict.parted.empty()) &&
                 verdict.loss_difference <= tolerance && verdict.norm_difference <= tolerance &&
                 verdict.tensor_difference <= tolerance;
}

} // namespace conclave
