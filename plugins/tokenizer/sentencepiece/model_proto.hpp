// What a SentencePiece model file says, read without SentencePiece.
//
// What this is: a reader of the few protobuf fields that decide whether a file is safe to load and whether text may be
// encoded word by word. libsentencepiece ends the process on some unfit models, so its loader only sees what passed here.
// What this is not: a complete reader; unknown fields are passed over, as protobuf asks.
//
// Field numbers are those of sentencepiece_model.proto, which is stable by its own promise.
//
// Threading: pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::sentencepiece_plugin {

enum class PieceType { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
enum class ModelType { unigram = 1, bpe = 2, word = 3, character = 4 };

struct Piece {
  std::string_view text; ///< views the bytes given to read_model()
  PieceType type = PieceType::normal;
};

struct ModelFacts {
  std::vector<Piece> pieces;
  ModelType type = ModelType::unigram;
  bool byte_fallback = false, whitespace_as_suffix = false;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  bool normalises = false; ///< carries a character map
};

inline constexpr std::size_t largest_model = 64 << 20; ///< bytes; published models stay below 6 MB
inline constexpr std::size_t most_pieces = 1 << 20;

/// Refuses what is too big, cut, no model, without exactly one unknown piece, or with an empty or repeated piece.
Result<ModelFacts> read_model(std::string_view bytes);

} // namespace conclave::sentencepiece_plugin
