// Cutting text for word-wise encoding: see segments.hpp.

#include "segments.hpp"

namespace conclave::sentencepiece_plugin {
namespace {

constexpr std::string_view space_mark = "\xE2\x96\x81"; // U+2581, how pieces write a space

/// True when a space stands somewhere after another character.
bool has_inner_space(std::string_view piece) {
  bool other = false;
  while (!piece.empty()) {
    if (piece.starts_with(space_mark)) {
      if (other) return true;
      piece.remove_prefix(space_mark.size());
    } else {
      other = true;
      piece.remove_prefix(1);
    }
  }
  return false;
}

/// True when newlines and other characters stand together.
bool mixes_newline(std::string_view piece) {
  const std::size_t first = piece.find('\n');
  return first != std::string_view::npos && piece.find_first_not_of('\n') != std::string_view::npos;
}

} // namespace

std::optional<SegmentPlan> plan_segments(const ModelFacts& facts) {
  // A character map may join or insert spaces; without byte fallback, runs of unknown characters become one id.
  const bool plain = !facts.normalises && !facts.add_dummy_prefix && !facts.remove_extra_whitespaces &&
                     facts.escape_whitespaces && !facts.whitespace_as_suffix;
  if (facts.type != ModelType::bpe || !facts.byte_fallback || !plain) return std::nullopt;
  SegmentPlan plan{.around_newline = true};
  for (const Piece& piece : facts.pieces) {
    if (piece.type == PieceType::user_defined || piece.type == PieceType::unused) return std::nullopt;
    if (piece.type != PieceType::normal) continue;
    if (has_inner_space(piece.text)) return std::nullopt;
    if (mixes_newline(piece.text)) plan.around_newline = false;
  }
  return plan;
}

bool has_space_mark(std::string_view text) noexcept { return text.find(space_mark) != std::string_view::npos; }

} // namespace conclave::sentencepiece_plugin
