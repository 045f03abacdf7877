// Families: see families.hpp.

#include "families.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace conclave::hf_bpe {
namespace {

using Json = nlohmann::ordered_json;

const KnownPattern& pattern(std::string_view name) {
  for (const KnownPattern& known : known_patterns())
    if (known.name == name) return known;
  throw std::logic_error("no pattern of that name");
}

/// The patterns by which a family splits before ByteLevel; GPT-2's splitting is ByteLevel's own.
std::vector<const KnownPattern*> splits(Family family) {
  switch (family) {
    case Family::gpt2: return {};
    case Family::llama3: return {&pattern("llama3")};
    case Family::qwen2: return {&pattern("qwen2")};
    case Family::deepseek3:
      return {&pattern("deepseek3 numbers"), &pattern("deepseek3 ideographs"), &pattern("deepseek3")};
  }
  return {};
}

} // namespace

Splitter splitter_of(Family family) {
  Splitter splitter;
  for (const KnownPattern* known : splits(family)) splitter.steps.push_back(known->step);
  if (splitter.steps.empty()) splitter.steps.push_back(gpt2_step());
  return splitter;
}

bool is_normalized(Family family) noexcept { return family == Family::qwen2; }

Json normalizer_json(Family family) { return is_normalized(family) ? Json{{"type", "NFC"}} : Json(nullptr); }

Json pre_tokenizer_json(Family family) {
  const auto known = splits(family);
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", known.empty()}};
  if (known.empty()) return byte_level;
  Json steps = Json::array();
  for (const KnownPattern* each : known)
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", std::string(each->regex)}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  steps.push_back(byte_level);
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

} // namespace conclave::hf_bpe
