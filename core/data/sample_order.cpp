// The order of a stage, one part of a pass after another.

#include "data/sample_order.hpp"

#include <algorithm>

#include "data/feistel.hpp"

namespace conclave::data {

SampleOrder::SampleOrder(std::uint64_t seed, const std::string& domain, std::int64_t windows, const StageSpan& span)
    : windows_(windows),
      span_(span),
      order_(seed, "data/order/" + domain),
      pieces_(seed, "data/pieces/" + domain + "/" + std::to_string(span.stage)) {}

std::int64_t SampleOrder::window_after(std::int64_t samples) const noexcept {
  return span_.begin + (samples + span_.pieces - 1) / span_.pieces;
}

void SampleOrder::append(std::int64_t first, std::int64_t last, std::vector<PlacedId>& out) const {
  for (std::int64_t n = first; n < last;) {
    const std::int64_t pass = (span_.begin + n / span_.pieces) / windows_;
    // The stage's part of that pass, in windows of the stream, and the numbers of its samples.
    const std::int64_t from = std::max(span_.begin, pass * windows_), to = std::min(span_.end, (pass + 1) * windows_);
    const std::int64_t begin = (from - span_.begin) * span_.pieces, count = (to - from) * span_.pieces;
    const Permutation order(static_cast<std::uint64_t>(windows_), order_, static_cast<std::uint64_t>(pass));
    const Permutation shuffled(static_cast<std::uint64_t>(count), pieces_, static_cast<std::uint64_t>(pass));
    for (const std::int64_t end = std::min(last, begin + count); n < end; ++n) {
      const std::int64_t at =
          span_.pieces == 1 ? n - begin : static_cast<std::int64_t>(shuffled(static_cast<std::uint64_t>(n - begin)));
      const std::int64_t place = (from + at / span_.pieces) % windows_;
      const auto window = static_cast<std::int64_t>(order(static_cast<std::uint64_t>(place)));
      out.push_back({pass, window * span_.pieces + at % span_.pieces});
    }
  }
}

} // namespace conclave::data
