// GateRule: what becomes of a tokenised document: dropped, cut or split by its length, and for which split.
//
// Limits count the text's own tokens, without the end token. A document shorter than min_tokens is dropped. One longer than
// max_tokens is dropped, cut at max_tokens, or split into pieces of max_tokens (a last piece below min_tokens is cut off).
// Pieces are documents of the store.
//
// What this is: the decision, for the stage that acts on it and for those that ask where a stored document came from. What
// this is not: the writing (gate_stage.cpp).
//
// Threading: const.
#pragma once

#include <cstdint>
#include <span>

#include "data/prepare.hpp"
#include "data/text_store.hpp"

namespace conclave::data {

class GateRule {
 public:
  /// `lengths`: tokens of each of the documents `kept`, ordinals in `texts`. All of them outlive this.
  GateRule(const PrepareRequest& request, const TextStore& texts, std::span<const std::uint64_t> kept,
           std::span<const std::uint32_t> lengths);

  /// Why a document of that length is dropped; null when it is not.
  [[nodiscard]] const char* refusal(std::uint64_t length) const noexcept;
  /// Its tokens that are stored, from the first one; the rest is cut. Precondition: it is not dropped.
  [[nodiscard]] std::uint64_t stored(std::uint64_t length) const noexcept;
  /// Documents of the store that it becomes.
  [[nodiscard]] std::uint64_t pieces(std::uint64_t length) const noexcept {
    return (stored(length) + limit() - 1) / limit();
  }
  [[nodiscard]] std::uint64_t limit() const noexcept { return static_cast<std::uint64_t>(request_->max_tokens); }
  /// Whether the i-th of the kept documents is held out.
  [[nodiscard]] bool held_out(std::size_t i) const;

 private:
  const PrepareRequest* request_;
  const TextStore* texts_;
  std::span<const std::uint64_t> kept_;
  // A small domain may have no text below the split's threshold, or none above it. Its text with the smallest hash then
  // changes sides, so that every domain of two texts can be trained and evaluated; a single text is for training.
  std::uint64_t forced_hash_ = 0;
  bool forced_ = false;
};

} // namespace conclave::data
