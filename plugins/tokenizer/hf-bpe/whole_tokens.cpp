// WholeTokens: see whole_tokens.hpp.

#include "whole_tokens.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>

namespace conclave::hf_bpe {

void WholeTokens::add(std::string_view text, std::int32_t id) {
  tokens_.push_back({texts_.size(), text.size(), id});
  texts_ += text;
}

void WholeTokens::build() {
  slots_.assign(std::bit_ceil(2 * tokens_.size() + 1), Slot{});
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view text = this->text(tokens_[i]);
    const std::uint64_t hash = XXH3_64bits(text.data(), text.size());
    std::size_t at = hash & (slots_.size() - 1);
    while (slots_[at].number != 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {static_cast<std::uint32_t>(hash >> 32), static_cast<std::uint32_t>(i + 1)};
  }
}

std::int32_t WholeTokens::find(std::string_view wanted) const noexcept {
  const std::uint64_t hash = XXH3_64bits(wanted.data(), wanted.size());
  for (std::size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.number == 0) return -1;
    if (slot.hash != static_cast<std::uint32_t>(hash >> 32)) continue;
    if (const Token& token = tokens_[slot.number - 1]; text(token) == wanted) return token.id;
  }
}

} // namespace conclave::hf_bpe
