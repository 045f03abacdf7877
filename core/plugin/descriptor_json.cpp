// Descriptors and option tables as JSON.

#include "plugin/descriptor_json.hpp"

#include <nlohmann/json.hpp>

namespace conclave {
namespace {

using Json = nlohmann::ordered_json;

Json describe_option(const OptionSpec& spec) {
  Json json{{"name", spec.name}, {"type", to_string(spec.type)}};
  if (spec.type == OptionType::list || spec.type == OptionType::map)
    json["element"] = spec.fields.empty() ? to_string(spec.element) : to_string(OptionType::group);
  json["doc"] = spec.doc;
  if (spec.required) {
    json["required"] = true;
  } else {
    json["default"] = spec.default_text;
  }
  if (spec.optional) json["optional"] = true;
  if (spec.minimum) json["minimum"] = *spec.minimum;
  if (spec.maximum) json["maximum"] = *spec.maximum;
  if (spec.minimum_exclusive) json["minimum_exclusive"] = true;
  if (spec.length) json["length"] = *spec.length;
  if (!spec.choices.empty()) json["choices"] = spec.choices;
  if (!spec.deprecated_aliases.empty()) json["deprecated_aliases"] = spec.deprecated_aliases;
  if (!spec.kind.empty()) json["kind"] = spec.kind;
  json["affects"] = to_string(spec.affects);
  for (const OptionSpec& field : spec.fields) json["fields"].push_back(describe_option(field));
  return json;
}

} // namespace

std::string describe_json(const PluginDescriptor& descriptor) {
  const PluginInfo& info = descriptor.info;
  Json json{{"id", info.id},           {"kind", descriptor.kind},
            {"version", info.version}, {"output_revision", info.output_revision},
            {"summary", info.summary}, {"licence", info.licence},
            {"options", Json::array()}};
  for (const OptionSpec& spec : descriptor.options.specs()) json["options"].push_back(describe_option(spec));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

} // namespace conclave
