// The two forms, PSM and SPM.

#include "data/fill_in_middle.hpp"

#include <algorithm>

namespace conclave::data {
namespace {

constexpr std::size_t marks = 3;

bool hit(std::uint32_t word, double share) { return static_cast<double>(word) < share * 0x1p32; }

/// Uniform in [0, bound].
std::size_t place(std::uint32_t word, std::size_t bound) {
  return static_cast<std::size_t>((static_cast<std::uint64_t>(word) * (bound + 1)) >> 32);
}

} // namespace

bool fill_in_middle(const FillInMiddle& settings, const std::array<std::uint32_t, 4>& random,
                    std::span<std::int32_t> document) {
  if (document.size() <= marks || !hit(random[0], settings.rate)) return false;
  const std::vector<std::int32_t> text(document.begin(), document.end() - marks);
  const auto [first, second] = std::minmax({place(random[2], text.size()), place(random[3], text.size())});
  const std::span<const std::int32_t> all(text);
  const auto prefix = all.first(first), middle = all.subspan(first, second - first), suffix = all.subspan(second);
  auto out = document.begin();
  const auto put = [&out](std::int32_t mark) { *out++ = mark; };
  const auto copy = [&out](std::span<const std::int32_t> part) { out = std::copy(part.begin(), part.end(), out); };
  const bool spm = hit(random[1], settings.spm);
  put(settings.prefix);
  if (!spm) copy(prefix);
  put(settings.suffix);
  copy(suffix);
  put(settings.middle);
  if (spm) copy(prefix);
  copy(middle);
  return true;
}

} // namespace conclave::data
