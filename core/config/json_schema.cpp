// JSON Schema from option tables.

#include "config/json_schema.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/sections.hpp"

namespace conclave {
namespace {

using Json = nlohmann::ordered_json;

// `#/$defs/<kind>`: any block of that kind.
std::string kind_ref(const std::string& kind) { return "#/$defs/" + kind; }

Json pattern(const char* text) { return {{"type", "string"}, {"pattern", text}}; }

constexpr const char* variable = "\\$\\{"; // `${name}` or `${env:NAME}` somewhere in it
constexpr const char* number_text = "^[+-]?[0-9][0-9_]*(\\.[0-9_]*)?([eE][+-]?[0-9]+)?";

void add_bounds(const OptionSpec& spec, Json& schema) {
  if (spec.minimum) schema[spec.minimum_exclusive ? "exclusiveMinimum" : "minimum"] = *spec.minimum;
  if (spec.maximum) schema["maximum"] = *spec.maximum;
}

// What one scalar of that type may look like to a YAML reader that types plain scalars: 1e-4 and 100k arrive as text there.
std::vector<Json> scalar_forms(const OptionSpec& spec, OptionType type) {
  const auto bounded = [&spec](const char* name) {
    Json schema = {{"type", name}};
    add_bounds(spec, schema);
    return schema;
  };
  switch (type) {
    case OptionType::boolean: return {{{"type", "boolean"}}, pattern(variable)};
    case OptionType::integer: return {bounded("integer"), pattern("^[+-]?[0-9][0-9_]*$"), pattern(variable)};
    case OptionType::real:
      return {bounded("number"), pattern((std::string(number_text) + "$").c_str()), pattern(variable)};
    case OptionType::count:
      return {bounded("number"), pattern((std::string(number_text) + " ?[kKMGT]?$").c_str()), pattern(variable)};
    case OptionType::bytes:
      return {bounded("number"), pattern((std::string(number_text) + " ?([kKMGT]?B|[KMGT]iB)?$").c_str()),
              pattern(variable)};
    case OptionType::seconds:
      return {bounded("number"), pattern((std::string(number_text) + " ?(ms|s|m|h|d)?$").c_str()), pattern(variable)};
    case OptionType::fraction:
      return {{{"type", "number"}, {"minimum", 0}, {"maximum", 1}},
              pattern((std::string(number_text) + " ?%?$").c_str()),
              pattern(variable)};
    case OptionType::steps_or_fraction:
      return {{{"type", "integer"}, {"minimum", 0}},
              pattern((std::string(number_text) + " ?[kKMGT%]?$").c_str()),
              pattern(variable)};
    case OptionType::choice: return {{{"enum", spec.choices}}, pattern(variable)};
    case OptionType::text:
    case OptionType::path: return {{{"type", Json::array({"string", "number", "boolean"})}}};
    default: return {};
  }
}

Json option_schema(const OptionSpec& spec);

Json any_of(std::vector<Json> forms) {
  if (forms.size() == 1) return forms.front();
  Json schema;
  schema["anyOf"] = std::move(forms);
  return schema;
}

Json object_of(const std::vector<OptionSpec>& specs) {
  Json properties = Json::object();
  for (const OptionSpec& spec : specs) {
    properties[spec.name] = option_schema(spec);
    for (const std::string& alias : spec.deprecated_aliases) {
      properties[alias] = option_schema(spec);
      properties[alias]["deprecated"] = true;
    }
  }
  return {{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
}

// An element of a list or map.
Json element_schema(const OptionSpec& spec) {
  if (spec.element == OptionType::plugin) return {{"$ref", kind_ref(spec.kind)}};
  if (spec.element == OptionType::group) return object_of(spec.fields);
  std::vector<Json> forms = scalar_forms(spec, spec.element);
  return forms.empty() ? Json::object() : any_of(std::move(forms));
}

Json option_schema(const OptionSpec& spec) {
  Json schema = Json::object();
  std::vector<Json> forms;
  switch (spec.type) {
    case OptionType::list: {
      Json list = {{"type", "array"}, {"items", element_schema(spec)}};
      if (spec.length) list["minItems"] = list["maxItems"] = *spec.length;
      forms.push_back(std::move(list));
      if (spec.element == OptionType::plugin)
        // Items by name: a layer over a list.
        forms.push_back({{"type", "object"}});
      else if (spec.element != OptionType::group)
        forms.push_back(element_schema(spec)); // one value is a list of one
      break;
    }
    case OptionType::map: {
      Json element = element_schema(spec);
      // A layer may delete a member.
      forms.push_back({{"type", "object"}, {"additionalProperties", any_of({std::move(element), {{"type", "null"}}})}});
      break;
    }
    case OptionType::group: forms.push_back(object_of(spec.fields)); break;
    case OptionType::plugin: forms.push_back({{"$ref", kind_ref(spec.kind)}}); break;
    default:
      forms = scalar_forms(spec, spec.type);
      if (spec.type != OptionType::choice && !spec.choices.empty())
        forms.push_back({{"enum", spec.choices}}); // a number or `auto`
  }
  forms.push_back({{"type", "null"}});
  schema = any_of(std::move(forms));
  std::string text = spec.doc;
  if (!spec.default_text.empty() && spec.type != OptionType::group)
    text += (text.empty() ? "Default: " : " Default: ") + spec.default_text + ".";
  if (!text.empty()) schema["description"] = text;
  return schema;
}

// The options of one plugin under `with`, when `use` names it.
Json use_rule(const PluginDescriptor& descriptor) {
  return {{"if", {{"properties", {{"use", {{"const", descriptor.info.id}}}}}, {"required", Json::array({"use"})}}},
          {"then", {{"properties", {{"with", any_of({object_of(descriptor.options.specs()), {{"type", "null"}}})}}}}}};
}

Json kind_schema(const std::string& kind, const std::vector<const PluginDescriptor*>& descriptors) {
  Json ids = Json::array(), rules = Json::array();
  std::string description = "A " + kind + ":";
  for (const PluginDescriptor* descriptor : descriptors) {
    ids.push_back({{"const", descriptor->info.id}, {"description", descriptor->info.summary}});
    rules.push_back(use_rule(*descriptor));
    description += " " + descriptor->info.id;
  }
  ids.push_back(pattern(variable));
  Json schema = {
      {"description", description},
      {"type", "object"},
      {"properties",
       {{"use", {{"description", "Which plugin."}, {"anyOf", std::move(ids)}}},
        {"name",
         {{"description", "Its name in this experiment; default: the id after the slash."}, {"type", "string"}}},
        {"with", {{"description", "Its options."}, {"type", Json::array({"object", "null"})}}}}},
      {"additionalProperties", false}};
  if (!rules.empty()) schema["allOf"] = std::move(rules);
  return schema;
}

} // namespace

std::string json_schema(PluginCatalog& catalog, Diagnostics& diagnostics) {
  static const std::vector<std::string> kinds = {"source",    "filter",    "tokenizer", "model",
                                                 "optimizer", "scheduler", "monitor",   "checkpoint"};
  Json definitions = Json::object();
  for (const std::string& kind : kinds) {
    std::vector<const PluginDescriptor*> descriptors;
    for (const std::string& id : catalog.ids(kind)) {
      const auto found = catalog.find(id);
      if (found.ok())
        descriptors.push_back(*found);
      else
        diagnostics.warning({}, id, "is left out of the schema: " + found.error().what, found.error().fix);
    }
    definitions[kind] = kind_schema(kind, descriptors);
  }
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "Conclave experiment"}};
  schema.update(object_of(experiment_table().specs()));
  schema["required"] = Json::array({"conclave"});
  schema["properties"]["conclave"] = {{"description", "Version of the experiment's schema."}, {"const", 1}};
  schema["$defs"] = std::move(definitions);
  // Texts of plugins may hold bytes that are not UTF-8: replaced rather than thrown at.
  return schema.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace conclave
