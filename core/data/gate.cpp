// The rule in numbers.

#include "data/gate.hpp"

#include <algorithm>
#include <limits>

#include "data/stages.hpp"

namespace conclave::data {
namespace {

enum TooLong { drop = 0, split = 1, truncate = 2 };

} // namespace

GateRule::GateRule(const PrepareRequest& request, const TextStore& texts, std::span<const std::uint64_t> kept,
                   std::span<const std::uint32_t> lengths)
    : request_(&request), texts_(&texts), kept_(kept) {
  std::uint64_t smallest = std::numeric_limits<std::uint64_t>::max();
  std::size_t count = 0, held = 0;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (refusal(lengths[i]) != nullptr) continue;
    const std::uint64_t hash = texts.hash(kept[i]);
    smallest = std::min(smallest, hash);
    held += is_held_out(hash, request.held_out);
    ++count;
  }
  const bool all = count > 0 && held == count;
  const bool none = count > 1 && held == 0 && request.held_out > 0;
  forced_hash_ = smallest;
  forced_ = all || none;
}

const char* GateRule::refusal(std::uint64_t length) const noexcept {
  const auto tokens = static_cast<std::int64_t>(length);
  if (tokens < std::max<std::int64_t>(request_->min_tokens, 1)) return "too-short";
  if (tokens > request_->max_tokens && request_->too_long == TooLong::drop) return "too-long";
  return nullptr;
}

std::uint64_t GateRule::stored(std::uint64_t length) const noexcept {
  if (length <= limit()) return length;
  if (request_->too_long == TooLong::truncate) return limit();
  const std::uint64_t rest = length % limit();
  return rest != 0 && static_cast<std::int64_t>(rest) < request_->min_tokens ? length - rest : length;
}

bool GateRule::held_out(std::size_t i) const {
  const std::uint64_t hash = texts_->hash(kept_[i]);
  return is_held_out(hash, request_->held_out) != (forced_ && hash == forced_hash_);
}

} // namespace conclave::data
