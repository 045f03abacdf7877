// What the stages share: progress, tallies, the held-out split.

#include "data/stages.hpp"

#include <chrono>
#include <cmath>

namespace conclave::data {

void StageContext::progress(const char* stage, std::int64_t done, std::int64_t total, const char* unit) const {
  if (!request->progress) return;
  using namespace std::chrono;
  const auto now = duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
  const bool first = stage != last_stage_, last = total > 0 && done >= total;
  if (!first && !last && now - last_progress_ms_ < 100) return;
  last_stage_ = stage;
  last_progress_ms_ = now;
  request->progress(stage, done, total, unit);
}

Result<Stage> StageContext::open(const char* name, const std::string& key) const {
  if (survey != nullptr) return Stage::find(request->cache, name, key);
  return Stage::open(request->cache, name, key, request->stop, request->notice, request->task);
}

nlohmann::json to_json(const Tallies& tallies) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [reason, tally] : tallies) json[reason] = {tally.documents, tally.bytes};
  return json;
}

Tallies tallies_from_json(const nlohmann::json& json) {
  Tallies tallies;
  for (const auto& [reason, tally] : json.items()) tallies[reason] = {tally.at(0), tally.at(1)};
  return tallies;
}

nlohmann::json to_json(const DedupSummary& summary) {
  return {{"filter", summary.filter}, {"keys", summary.keys}, {"large_groups", summary.large_groups}};
}

DedupSummary dedup_from_json(const nlohmann::json& json) {
  return {json.at("filter"), json.at("keys"), json.at("large_groups")};
}

bool is_held_out(std::uint64_t text_hash, double fraction) noexcept {
  if (fraction <= 0) return false;
  // The hash also serves other choices, so it is mixed first (the finaliser of SplitMix64).
  std::uint64_t h = text_hash + 0x9e3779b97f4a7c15ull;
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebull;
  h ^= h >> 31;
  return std::ldexp(static_cast<double>(h >> 11), -53) < fraction;
}

} // namespace conclave::data
