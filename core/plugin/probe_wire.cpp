// Probe results as JSON text and back.

#include "plugin/probe_wire.hpp"

#include <nlohmann/json.hpp>

namespace conclave {
namespace {

using Json = nlohmann::ordered_json;

} // namespace

std::string encode_probe(const ProbeResult& result) {
  Json json;
  if (result.problem.empty()) {
    json["plugins"] = Json::array();
    for (const ProbedPlugin& plugin : result.plugins) json["plugins"].push_back(Json::parse(plugin.json));
  } else {
    json["problem"] = result.problem;
    json["lasting"] = result.lasting;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<ProbeResult> decode_probe(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  ProbeResult result;
  try {
    if (json.contains("problem")) {
      result.problem = json.at("problem").get<std::string>();
      result.lasting = json.value("lasting", true);
      if (result.problem.empty()) return std::nullopt;
      return result;
    }
    for (const Json& item : json.at("plugins")) {
      ProbedPlugin plugin;
      plugin.info.id = item.at("id").get<std::string>();
      plugin.info.version = item.at("version").get<std::string>();
      plugin.info.output_revision = item.at("output_revision").get<int>();
      plugin.info.summary = item.at("summary").get<std::string>();
      plugin.info.licence = item.at("licence").get<std::string>();
      plugin.kind = item.at("kind").get<std::string>();
      plugin.json = item.dump();
      result.plugins.push_back(std::move(plugin));
    }
  } catch (const Json::exception&) {
    return std::nullopt;
  }
  return result;
}

} // namespace conclave
