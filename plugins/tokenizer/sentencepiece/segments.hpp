// Cutting text so that the pieces of the parts are the pieces of the whole.
//
// BPE merges two neighbours only when the merged text is a piece. Where no piece reaches over a boundary, no merge does, and
// the two sides are encoded independently; so a text may be encoded word by word, with the words' ids remembered. Models
// for language modelling split at spaces in training and therefore have no piece with a space inside; plan_segments()
// looks at the pieces themselves.
//
// What this is not: for unigram models, whose best path sums floats over the whole text.
//
// Threading: immutable values.
#pragma once

#include <optional>
#include <string_view>

#include "model_proto.hpp"

namespace conclave::sentencepiece_plugin {

/// Where text may be cut.
struct SegmentPlan {
  bool around_newline = false; ///< also before and after each run of newlines, not only before a run of spaces
};

/// nullopt when the model must see its text whole.
std::optional<SegmentPlan> plan_segments(const ModelFacts& facts);

/// True when the text holds U+2581, which the model cannot tell from a space: such text must be seen whole.
bool has_space_mark(std::string_view text) noexcept;

/// The length of the segment that begins `text`. Precondition: !text.empty().
inline std::size_t segment_length(std::string_view text, SegmentPlan plan) noexcept {
  std::size_t end = 0;
  if (plan.around_newline && text[0] == '\n') {
    while (end < text.size() && text[end] == '\n') ++end;
    return end;
  }
  while (end < text.size() && text[end] == ' ') ++end; // the spaces belong to the word after them
  while (end < text.size() && text[end] != ' ' && !(plan.around_newline && text[end] == '\n')) ++end;
  return end;
}

} // namespace conclave::sentencepiece_plugin
