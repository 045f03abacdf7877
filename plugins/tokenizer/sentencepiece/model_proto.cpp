// Reading a SentencePiece model's facts: see model_proto.hpp.

#include "model_proto.hpp"

#include <optional>
#include <unordered_set>

namespace conclave::sentencepiece_plugin {
namespace {

/// One field of a protobuf message: a number for varints, a view for length-delimited ones.
struct Field {
  std::uint32_t number = 0;
  std::uint64_t value = 0;
  std::string_view bytes;
};

/// Walks the fields of one message. After next() returned nullopt, failed() tells the end from damage.
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const auto tag = varint();
    if (!tag || (*tag >> 3) == 0 || (*tag >> 3) > 0x1FFFFFFF) return fail();
    Field field;
    field.number = static_cast<std::uint32_t>(*tag >> 3);
    switch (*tag & 7) {
      case 0: {
        const auto value = varint();
        if (!value) return fail();
        field.value = *value;
        return field;
      }
      case 1: return take(8, field);
      case 2: {
        const auto length = varint();
        if (!length) return fail();
        return take(*length, field);
      }
      case 5: return take(4, field);
      default: return fail(); // groups are not used by the format
    }
  }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  std::optional<Field> fail() {
    failed_ = true;
    rest_ = {};
    return std::nullopt;
  }
  std::optional<Field> take(std::uint64_t length, Field field) {
    if (length > rest_.size()) return fail();
    field.bytes = rest_.substr(0, static_cast<std::size_t>(length));
    rest_.remove_prefix(static_cast<std::size_t>(length));
    return field;
  }
  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return std::nullopt;
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::string_view rest_;
  bool failed_ = false;
};

Error unfit(std::string what) {
  return invalid("the SentencePiece model cannot be used: " + std::move(what),
                 "give a .model file that spm_train wrote");
}

std::optional<Piece> read_piece(std::string_view bytes) {
  Piece piece;
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 1) piece.text = field->bytes;
    if (field->number == 3) {
      if (field->value < 1 || field->value > 6) return std::nullopt;
      piece.type = static_cast<PieceType>(field->value);
    }
  }
  if (message.failed()) return std::nullopt;
  return piece;
}

bool read_trainer(std::string_view bytes, ModelFacts& facts) {
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 3) {
      if (field->value < 1 || field->value > 4) return false;
      facts.type = static_cast<ModelType>(field->value);
    }
    if (field->number == 24) facts.whitespace_as_suffix = field->value != 0;
    if (field->number == 35) facts.byte_fallback = field->value != 0;
  }
  return !message.failed();
}

bool read_normalizer(std::string_view bytes, ModelFacts& facts) {
  Message message(bytes);
  while (const auto field = message.next()) {
    if (field->number == 2) facts.normalises = !field->bytes.empty();
    if (field->number == 3) facts.add_dummy_prefix = field->value != 0;
    if (field->number == 4) facts.remove_extra_whitespaces = field->value != 0;
    if (field->number == 5) facts.escape_whitespaces = field->value != 0;
  }
  return !message.failed();
}

} // namespace

Result<ModelFacts> read_model(std::string_view bytes) {
  if (bytes.empty()) return unfit("it is empty");
  if (bytes.size() > largest_model) return unfit("it is larger than 64 MiB");
  ModelFacts facts;
  Message message(bytes);
  while (const auto field = message.next()) {
    bool good = true;
    if (field->number == 1) {
      const auto piece = read_piece(field->bytes);
      good = piece.has_value();
      if (good) facts.pieces.push_back(*piece);
      if (facts.pieces.size() > most_pieces)
        return unfit("it has more than " + std::to_string(most_pieces) + " pieces");
    } else if (field->number == 2) {
      good = read_trainer(field->bytes, facts);
    } else if (field->number == 3) {
      good = read_normalizer(field->bytes, facts);
    }
    if (!good) return unfit("field " + std::to_string(field->number) + " is damaged");
  }
  if (message.failed()) return unfit("it is cut or is no protobuf message");
  if (facts.pieces.empty()) return unfit("it has no pieces");

  std::size_t unknown = 0;
  std::unordered_set<std::string_view> seen;
  seen.reserve(facts.pieces.size());
  for (const Piece& piece : facts.pieces) {
    if (piece.text.empty()) return unfit("a piece is empty");
    if (!seen.insert(piece.text).second) return unfit("the piece " + std::string(piece.text) + " stands in it twice");
    unknown += piece.type == PieceType::unknown;
  }
  if (unknown != 1) return unfit("it has " + std::to_string(unknown) + " unknown pieces instead of one");
  return facts;
}

} // namespace conclave::sentencepiece_plugin
