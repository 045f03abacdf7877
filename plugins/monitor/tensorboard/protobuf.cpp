// Wire format: a tag (field << 3 | type) and a varint (0), 8 bytes (1), length and bytes (2) or 4 bytes (5).

#include "protobuf.hpp"

#include <bit>
#include <charconv>
#include <cmath>

namespace conclave::tensorboard {
namespace {

constexpr const char* hparams = "hparams";
constexpr std::uint64_t float_type = 1;        // DT_FLOAT
constexpr std::uint64_t session_log_start = 1; // SessionLog.START

/// Summary with one empty tensor whose metadata carries the page's own message.
std::string hparams_event(double wall_time, const char* tag, const Message& content) {
  Message plugin;
  plugin.bytes(1, hparams).bytes(2, content.data());
  // A tensor of shape [0]: the page ignores it, and a summary value must have one.
  const Message tensor = Message().integer(1, float_type).message(2, Message().message(2, Message().integer(1, 0)));
  Message value;
  value.bytes(1, tag).message(8, tensor).message(9, Message().message(1, plugin));
  return Message().real64(1, wall_time).message(5, Message().message(1, value)).data();
}

/// google.protobuf.Value: a number where the whole text is one, else text.
Message setting_value(const std::string& text) {
  double number = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed == std::errc() && end == text.data() + text.size() && std::isfinite(number))
    return Message().real64(2, number);
  if (text == "true" || text == "false") return Message().integer(4, text == "true");
  return Message().bytes(3, text);
}

} // namespace

void Message::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) data_ += static_cast<char>(value | 0x80);
  data_ += static_cast<char>(value);
}

Message& Message::integer(int field, std::uint64_t value) {
  tag(field, 0);
  varint(value);
  return *this;
}

Message& Message::real64(int field, double value) {
  tag(field, 1);
  const auto bits = std::bit_cast<std::uint64_t>(value);
  for (int i = 0; i < 8; ++i) data_ += static_cast<char>(bits >> (8 * i));
  return *this;
}

Message& Message::real32(int field, float value) {
  tag(field, 5);
  const auto bits = std::bit_cast<std::uint32_t>(value);
  for (int i = 0; i < 4; ++i) data_ += static_cast<char>(bits >> (8 * i));
  return *this;
}

Message& Message::bytes(int field, std::string_view value) {
  tag(field, 2);
  varint(value.size());
  data_ += value;
  return *this;
}

std::string version_event(double wall_time) { return Message().real64(1, wall_time).bytes(3, "brain.Event:2").data(); }

std::string restart_event(double wall_time, std::int64_t step) {
  const Message log = Message().integer(1, session_log_start);
  return Message().real64(1, wall_time).integer(2, static_cast<std::uint64_t>(step)).message(7, log).data();
}

std::string scalars_event(double wall_time, std::int64_t step,
                          const std::vector<std::pair<std::string, float>>& scalars) {
  Message summary;
  for (const auto& [tag, value] : scalars) summary.message(1, Message().bytes(1, tag).real32(2, value));
  return Message().real64(1, wall_time).integer(2, static_cast<std::uint64_t>(step)).message(5, summary).data();
}

std::string session_start_event(double wall_time, const std::vector<std::pair<std::string, std::string>>& settings,
                                const std::string& group) {
  Message start;
  for (const auto& [name, text] : settings) start.message(1, Message().bytes(1, name).message(2, setting_value(text)));
  start.bytes(4, group).real64(5, wall_time);
  return hparams_event(wall_time, "_hparams_/session_start_info", Message().message(3, start));
}

std::string session_end_event(double wall_time, SessionStatus status) {
  const Message end = Message().integer(1, static_cast<std::uint64_t>(status)).real64(2, wall_time);
  return hparams_event(wall_time, "_hparams_/session_end_info", Message().message(4, end));
}

} // namespace conclave::tensorboard
