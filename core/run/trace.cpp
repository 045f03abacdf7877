// Writes the collected spans as complete events ("ph": "X").

#include "run/trace.hpp"

#include <nlohmann/json.hpp>

#include "io/file_writer.hpp"

namespace conclave {

Status Trace::write(const std::filesystem::path& file, int rank) const {
  nlohmann::json events = nlohmann::json::array();
  for (const Event& event : events_)
    events.push_back({{"name", event.name},
                      {"ph", "X"},
                      {"pid", rank},
                      {"tid", 0},
                      {"ts", event.begin},
                      {"dur", event.end - event.begin},
                      {"args", {{"step", event.step}}}});
  return write_file_atomically(file, nlohmann::json{{"traceEvents", std::move(events)}}.dump());
}

} // namespace conclave
