// The few fields of TensorBoard's protocol buffers that scalars and hyper-parameters need, written by hand.
//
// What this is: an encoder of messages that we build ourselves (field numbers: tensorboard/compat/proto/event.proto,
// summary.proto, tensor.proto; plugins/hparams/plugin_data.proto). What this is not: a protocol buffer library; nothing is
// parsed.
//
// Threading: pure functions and values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::tensorboard {

/// A message under construction; fields are written in the order of the calls.
class Message {
 public:
  Message& integer(int field, std::uint64_t value);
  Message& real64(int field, double value);
  Message& real32(int field, float value);
  Message& bytes(int field, std::string_view value);
  Message& message(int field, const Message& value) { return bytes(field, value.data_); }
  [[nodiscard]] const std::string& data() const noexcept { return data_; }

 private:
  void varint(std::uint64_t value);
  void tag(int field, int wire_type) {
    varint(static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(wire_type));
  }
  std::string data_;
};

/// The first record of every file.
std::string version_event(double wall_time);
/// A session starts at `step`: readers drop what earlier files of the folder hold from that step on.
std::string restart_event(double wall_time, std::int64_t step);
/// One event with a simple value for each tag.
std::string scalars_event(double wall_time, std::int64_t step,
                          const std::vector<std::pair<std::string, float>>& scalars);
/// Opens a session of the hyper-parameters page: text and numbers of the run's settings, grouped by `group`.
std::string session_start_event(double wall_time, const std::vector<std::pair<std::string, std::string>>& settings,
                                const std::string& group);
enum class SessionStatus { success = 1, failure = 2 };
std::string session_end_event(double wall_time, SessionStatus status);

} // namespace conclave::tensorboard
