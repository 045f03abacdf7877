// Writes the collected spans as complete events ("ph": "X").

#include "run/trace.hpp"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "io/file_writer.hpp"

namespace conclave {

using nlohmann::json;

void Trace::add(const std::string& lane, std::string name, Clock::time_point begin, Clock::time_point end) {
  if (!on_) return;
  const std::lock_guard lock(mutex_);
  if (recording_) events_.push_back({lane, std::move(name), step_, begin, end});
}

Status Trace::write(const std::filesystem::path& file, int rank) const {
  const auto micros = [](auto duration) { return std::chrono::duration<double, std::micro>(duration).count(); };
  const std::lock_guard lock(mutex_);
  json events = json::array();
  std::map<std::string, int> lanes; // in the order in which they come
  for (const Event& event : events_) {
    const auto [lane, fresh] = lanes.try_emplace(event.lane, static_cast<int>(lanes.size()));
    if (fresh)
      events.push_back({{"name", "thread_name"},
                        {"ph", "M"},
                        {"pid", rank},
                        {"tid", lane->second},
                        {"args", {{"name", event.lane}}}});
    events.push_back({{"name", event.name},
                      {"ph", "X"},
                      {"pid", rank},
                      {"tid", lane->second},
                      {"ts", micros(started_.time_since_epoch()) + micros(event.begin - start_)},
                      {"dur", micros(event.end - event.begin)},
                      {"args", {{"step", event.step}}}});
  }
  events.push_back(
      {{"name", "process_name"}, {"ph", "M"}, {"pid", rank}, {"args", {{"name", "rank " + std::to_string(rank)}}}});
  return write_file_atomically(file, json{{"traceEvents", std::move(events)}}.dump());
}

Status Trace::merge(const std::filesystem::path& directory, int ranks) {
  json events = json::array();
  for (int rank = 0; rank < ranks; ++rank) {
    std::ifstream in(directory / ("trace." + std::to_string(rank) + ".json"));
    json part = json::parse(in, nullptr, false);
    if (!part.is_object()) continue;
    for (json& event : part["traceEvents"]) events.push_back(std::move(event));
  }
  return write_file_atomically(directory / "trace.json", json{{"traceEvents", std::move(events)}}.dump());
}

} // namespace conclave
