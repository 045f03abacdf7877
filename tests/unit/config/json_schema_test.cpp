// The JSON Schema: closed objects, one rule for each plugin, documentation and bounds. What it says of whole files is
// tests/golden/schema's.

#include "config/json_schema.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using Json = nlohmann::json;

Json schema() {
  testing::FakeCatalog catalog;
  Diagnostics diagnostics;
  const std::string text = json_schema(catalog, diagnostics);
  EXPECT_EQ(diagnostics.render(), "");
  return Json::parse(text);
}

void expect_closed(const Json& node, const std::string& path) {
  if (node.is_object()) {
    // The branches of an `if` only select; the block around them is closed.
    const bool selects = path.ends_with("/if") || path.ends_with("/then");
    if (node.contains("properties") && node.contains("type") &&
        node["type"].dump().find("object") != std::string::npos && !selects) {
      EXPECT_EQ(node.value("additionalProperties", Json(true)), Json(false)) << path;
    }
    for (const auto& [key, child] : node.items()) expect_closed(child, path + "/" + key);
  } else if (node.is_array()) {
    for (std::size_t i = 0; i < node.size(); ++i) expect_closed(node[i], path + "/" + std::to_string(i));
  }
}

TEST(JsonSchema, EveryObjectIsClosed) { expect_closed(schema(), ""); }

TEST(JsonSchema, HasEverySectionAndPlugin) {
  const Json root = schema();
  for (const char* key : {"conclave", "name", "seed", "extends", "vars", "data", "model", "optimizer", "scheduler",
                          "precision", "parallel", "hardware", "train", "evaluate", "monitors", "checkpoint"})
    EXPECT_TRUE(root["properties"].contains(key)) << key;
  EXPECT_EQ(root["required"], Json::array({"conclave"}));
  EXPECT_EQ(root["$defs"].size(), 8u);
  EXPECT_EQ(root["$defs"]["optimizer"]["allOf"].size(), 2u);
  EXPECT_EQ(root["properties"]["parallel"]["pattern"], "^auto$|\\$\\{"); // a map, or this as text
  EXPECT_EQ(root["properties"]["train"]["pattern"], "\\$\\{");
  const Json& adamw = root["$defs"]["optimizer"]["allOf"][0];
  EXPECT_EQ(adamw["if"]["properties"]["use"]["const"], "optimizer/adamw");
  EXPECT_EQ(adamw["if"]["required"], Json::array({"use"}));
  const Json& lr = adamw["then"]["properties"]["with"]["properties"]["lr"];
  EXPECT_EQ(lr["description"], "Peak learning rate. Default: 1e-4.");
  EXPECT_EQ(lr["exclusiveMinimum"], 0.0);
  for (const auto& [kind, block] : root["$defs"].items())
    EXPECT_EQ(block["properties"].contains("name"), kind == "filter" || kind == "monitor") << kind;
}

} // namespace
} // namespace conclave
