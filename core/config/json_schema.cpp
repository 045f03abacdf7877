// JSON Schema from option tables.

#include "config/json_schema.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "config/sections.hpp"
#include "plugin/library.hpp"

namespace conclave {
namespace {

using Json = nlohmann::ordered_json;

// `#/$defs/<kind>`: any block of that kind.
std::string kind_ref(const std::string& kind) { return "#/$defs/" + kind; }

constexpr const char* variable = "\\$\\{"; // `${name}` or `${env:NAME}` somewhere in it

void add_bounds(const OptionSpec& spec, Json& schema) {
  if (spec.minimum) schema[spec.minimum_exclusive ? "exclusiveMinimum" : "minimum"] = *spec.minimum;
  if (spec.maximum) schema["maximum"] = *spec.maximum;
}

// The text forms of a number with these units, or anything with a variable in it.
std::string number_pattern(const std::string& units) {
  return "^[+-]?[0-9][0-9_]*(\\.[0-9_]*)?([eE][+-]?[0-9]+)?" + units + "$|" + variable;
}

// One scalar as a YAML reader that types plain scalars sees it: 1e-4 and 100k arrive as text there. Flat, since editors
// explain a flat schema's errors better than a choice of schemas; bounds hold for numbers and patterns for text.
Json scalar_schema(const OptionSpec& spec, OptionType type) {
  const auto number = [&spec](const char* name, const std::string& units) {
    Json schema = {{"type", Json::array({name, "string"})}, {"pattern", number_pattern(units)}};
    add_bounds(spec, schema);
    return schema;
  };
  switch (type) {
    case OptionType::boolean: return {{"type", Json::array({"boolean", "string"})}, {"pattern", variable}};
    case OptionType::integer: {
      Json schema = number("integer", "");
      std::string words; // a number or a word such as `auto`
      for (const std::string& choice : spec.choices) words += "^" + choice + "$|";
      schema["pattern"] = words + "^[+-]?[0-9][0-9_]*$|" + variable;
      return schema;
    }
    case OptionType::real: return number("number", "");
    case OptionType::count: return number("number", " ?[kKMGT]?");
    case OptionType::bytes: return number("number", " ?([kKMGT]?B|[KMGT]iB)?");
    case OptionType::seconds: return number("number", " ?(ms|s|m|h|d)?");
    case OptionType::fraction: {
      Json schema = number("number", " ?%?");
      if (!spec.minimum) schema["minimum"] = 0;
      if (!spec.maximum) schema["maximum"] = 1;
      return schema;
    }
    case OptionType::steps_or_fraction: return number("number", " ?[kKMGT%]?");
    case OptionType::choice: {
      Json names = spec.choices;
      return {
          {"anyOf", Json::array({Json{{"enum", std::move(names)}}, Json{{"type", "string"}, {"pattern", variable}}})}};
    }
    default: return {{"type", Json::array({"string", "number", "boolean"})}};
  }
}

// The same, and what stands for it before layers are composed: `null`, since a layer may delete what another one says, and
// `${name}`, since a variable may be of any kind.
Json or_composed(Json schema) {
  if (schema.contains("anyOf")) {
    schema["anyOf"].push_back({{"type", "null"}});
    schema["anyOf"].push_back({{"type", "string"}, {"pattern", variable}});
    return schema;
  }
  Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
  types.push_back("null");
  if (std::find(types.begin(), types.end(), "string") == types.end()) {
    types.push_back("string");
    schema["pattern"] = variable; // holds for text alone
  }
  schema["type"] = std::move(types);
  return schema;
}

Json option_schema(const OptionSpec& spec);

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
  if (spec.element == OptionType::list || spec.element == OptionType::map) return Json::object();
  return scalar_schema(spec, spec.element);
}

Json list_schema(const OptionSpec& spec) {
  Json list = {{"type", "array"}, {"items", element_schema(spec)}};
  if (spec.length) list["minItems"] = list["maxItems"] = *spec.length;
  Json forms = Json::array({std::move(list)});
  if (spec.element == OptionType::plugin)
    forms.push_back({{"type", "object"}}); // a layer that reaches items by name
  else if (spec.element != OptionType::group)
    forms.push_back(element_schema(spec)); // one value is a list of one
  return {{"anyOf", std::move(forms)}};
}

Json option_schema(const OptionSpec& spec) {
  Json schema;
  switch (spec.type) {
    case OptionType::list: schema = or_composed(list_schema(spec)); break;
    case OptionType::map: {
      Json element = element_schema(spec);
      if (element.contains("type") || element.contains("anyOf")) element = or_composed(std::move(element));
      schema = or_composed({{"type", "object"}, {"additionalProperties", std::move(element)}});
      break;
    }
    case OptionType::group: {
      schema = or_composed(object_of(spec.fields));
      std::string words; // a map or a word such as `auto`
      for (const std::string& choice : spec.choices) words += "^" + choice + "$|";
      schema["pattern"] = words + variable;
      break;
    }
    case OptionType::plugin: schema = {{"$ref", kind_ref(spec.kind)}}; break;
    default: schema = or_composed(scalar_schema(spec, spec.type));
  }
  std::string text = spec.doc;
  if (!spec.default_text.empty() && spec.type != OptionType::group)
    text += (text.empty() ? "Default: " : " Default: ") + spec.default_text + ".";
  if (!text.empty()) schema["description"] = text;
  return schema;
}

// The options of one plugin under `with`, when `use` names it.
Json use_rule(const PluginDescriptor& descriptor) {
  return {{"if", {{"properties", {{"use", {{"const", descriptor.info.id}}}}}, {"required", Json::array({"use"})}}},
          {"then", {{"properties", {{"with", or_composed(object_of(descriptor.options.specs()))}}}}}};
}

// Kinds whose blocks are items of a list of the experiment, which may have a name.
void collect_listed(const std::vector<OptionSpec>& specs, std::set<std::string>& kinds) {
  for (const OptionSpec& spec : specs) {
    if (spec.type == OptionType::list && spec.element == OptionType::plugin) kinds.insert(spec.kind);
    collect_listed(spec.fields, kinds);
  }
}

Json kind_schema(const std::string& kind, const std::vector<const PluginDescriptor*>& descriptors, bool listed) {
  Json ids = Json::array(), rules = Json::array();
  std::string description = "A " + kind + ":";
  for (const PluginDescriptor* descriptor : descriptors) {
    ids.push_back({{"const", descriptor->info.id}, {"description", descriptor->info.summary}});
    rules.push_back(use_rule(*descriptor));
    description += " " + descriptor->info.id;
  }
  ids.push_back({{"type", "string"}, {"pattern", variable}});
  Json properties = {{"use", {{"description", "Which plugin."}, {"anyOf", std::move(ids)}}},
                     {"with", or_composed({{"description", "Its options."}, {"type", "object"}})}};
  if (listed)
    properties["name"] = {{"description", "Its name in this experiment; default: the id after the slash."},
                          {"type", "string"}};
  Json schema = or_composed({{"description", description},
                             {"type", "object"},
                             {"properties", std::move(properties)},
                             {"additionalProperties", false}});
  if (!rules.empty()) schema["allOf"] = std::move(rules);
  return schema;
}

} // namespace

std::string json_schema(PluginCatalog& catalog, Diagnostics& diagnostics) {
  std::set<std::string> listed;
  collect_listed(experiment_table().specs(), listed);
  Json definitions = Json::object();
  for (const std::string_view known : plugin_kinds) {
    const std::string kind(known);
    std::vector<const PluginDescriptor*> descriptors;
    for (const std::string& id : catalog.ids(kind)) {
      const auto found = catalog.find(id);
      if (found.ok())
        descriptors.push_back(*found);
      else
        diagnostics.warning({}, id, "is left out of the schema: " + found.error().what, found.error().fix);
    }
    definitions[kind] = kind_schema(kind, descriptors, listed.contains(kind));
  }
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "Conclave experiment"}};
  schema.update(object_of(experiment_table().specs()));
  schema["required"] = Json::array({"conclave"});
  schema["properties"]["vars"].erase("additionalProperties"); // a variable may be of any kind
  schema["properties"]["conclave"] = {{"description", "Version of the experiment's schema."}, {"const", 1}};
  schema["$defs"] = std::move(definitions);
  // Texts of plugins may hold bytes that are not UTF-8: replaced rather than thrown at.
  return schema.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace conclave
