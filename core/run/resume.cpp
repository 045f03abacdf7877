// Checkpoint meta data and the rules of going on.

#include "run/resume.hpp"

#include <nlohmann/json.hpp>
#include <set>

namespace conclave {
using nlohmann::json;

std::string to_json(const CheckpointMeta& meta) {
  json settings = json::object();
  for (const auto& [key, setting] : meta.settings)
    settings[key] = {{"value", setting.value}, {"affects", to_string(setting.affects)}};
  return json{{"config_hash", meta.config_hash}, {"plan_digest", meta.plan_digest}, {"store_digest", meta.store_digest},
              {"vocabulary", meta.vocabulary},   {"tokenizer", meta.tokenizer_id},  {"model", meta.model_id},
              {"plugins", meta.plugins},         {"machine", meta.machine},         {"settings", std::move(settings)}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<CheckpointMeta> parse_checkpoint_meta(const std::string& text) {
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return storage_error("the checkpoint's meta data cannot be read");
  CheckpointMeta meta;
  meta.config_hash = parsed.value("config_hash", "");
  meta.plan_digest = parsed.value("plan_digest", "");
  meta.store_digest = parsed.value("store_digest", "");
  meta.vocabulary = parsed.value("vocabulary", std::int64_t{0});
  meta.tokenizer_id = parsed.value("tokenizer", "");
  meta.model_id = parsed.value("model", "");
  meta.plugins = parsed.value("plugins", meta.plugins);
  meta.machine = parsed.value("machine", "");
  if (const auto settings = parsed.find("settings"); settings != parsed.end() && settings->is_object()) {
    for (const auto& [key, entry] : settings->items()) {
      Experiment::Setting setting;
      setting.value = entry.value("value", "");
      const std::string affects = entry.value("affects", "numerics");
      for (const Affects candidate :
           {Affects::numerics, Affects::selection, Affects::speed, Affects::io, Affects::naming})
        if (affects == to_string(candidate)) setting.affects = candidate;
      meta.settings[key] = std::move(setting);
    }
  }
  return meta;
}

Result<ResumeDecision> compare_for_resume(const CheckpointMeta& then, const CheckpointMeta& now, bool allow_change) {
  if (then.vocabulary != now.vocabulary)
    return invalid("the checkpoint has a vocabulary of " + std::to_string(then.vocabulary) +
                       " tokens, the experiment's tokenizer one of " + std::to_string(now.vocabulary),
                   "use the tokenizer of the checkpoint's run");
  ResumeDecision decision;
  std::set<std::string> keys;
  for (const auto& [key, setting] : then.settings) keys.insert(key);
  for (const auto& [key, setting] : now.settings) keys.insert(key);
  std::string refused;
  for (const auto& key : keys) {
    const auto old_entry = then.settings.find(key);
    const auto new_entry = now.settings.find(key);
    const std::string before = old_entry == then.settings.end() ? "(absent)" : old_entry->second.value;
    const std::string after = new_entry == now.settings.end() ? "(absent)" : new_entry->second.value;
    if (before == after) continue;
    const Affects affects = new_entry != now.settings.end() ? new_entry->second.affects : old_entry->second.affects;
    const std::string change = before + " -> " + after;
    if (affects != Affects::numerics && affects != Affects::selection) {
      decision.notes.push_back(key + ": " + change + " (changes " + to_string(affects) + " only)");
    } else if (allow_change) {
      decision.allowed.emplace_back(key, change);
    } else {
      refused += (refused.empty() ? "" : "; ") + key + ": " + change;
    }
  }
  for (const auto& [id, sha256] : now.plugins) {
    const auto before = then.plugins.find(id);
    if (before != then.plugins.end() && before->second != sha256)
      decision.notes.push_back(id + " is another build (SHA-256 " + before->second.substr(0, 12) + ", now " +
                               sha256.substr(0, 12) + "): equal to the last bit only if it computes the same");
  }
  if (then.machine != now.machine && !then.machine.empty())
    decision.notes.push_back("the checkpoint was written with " + then.machine + ", this is " + now.machine +
                             ": sums may differ in the last bit");
  if (!refused.empty())
    return invalid("the experiment changed since the checkpoint in what affects the numbers: " + refused,
                   "restore it, start a new run, or add --allow-change to accept and record it");
  if (then.plan_digest != now.plan_digest) {
    if (!allow_change)
      return invalid("the prepared data or the order of its batches is not the checkpoint's (plan " +
                         then.plan_digest.substr(0, 12) + ", now " + now.plan_digest.substr(0, 12) + ")",
                     "restore the input data, or add --allow-change to accept and record it");
    decision.allowed.emplace_back("data plan", then.plan_digest + " -> " + now.plan_digest);
  }
  return decision;
}

} // namespace conclave
