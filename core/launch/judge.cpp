// The rules, in the order of how sure they are.

#include "launch/judge.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "conclave/status.hpp"
#include "launch/ranks.hpp"

namespace conclave {
namespace {

std::string in_seconds(double seconds) {
  return seconds_text(std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
}

std::string describe_wait(const SignOfLife::Wait& wait) {
  return wait.operation + " number " + std::to_string(wait.number) + " over " + wait.sequence + " (" +
         rank_list(wait.ranks) + ")";
}

} // namespace

std::string sequence_key(const std::string& name, const std::vector<int>& ranks) {
  return name + "@" + (ranks.empty() ? "" : std::to_string(ranks.front()));
}

std::string SignOfLife::encode() const {
  nlohmann::json json{{"number", number}, {"host", host},     {"process", process}, {"step", step},
                      {"doing", doing},   {"issued", issued}, {"broken", broken},   {"reason", reason}};
  if (left) json["left"] = *left;
  if (wait)
    json["wait"] = {{"sequence", wait->sequence},
                    {"ranks", wait->ranks},
                    {"operation", wait->operation},
                    {"number", wait->number},
                    {"seconds", wait->seconds}};
  // A reason may quote anything.
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<SignOfLife> SignOfLife::decode(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text);
    SignOfLife sign;
    json.at("number").get_to(sign.number);
    json.at("host").get_to(sign.host);
    json.at("process").get_to(sign.process);
    json.at("step").get_to(sign.step);
    json.at("doing").get_to(sign.doing);
    json.at("issued").get_to(sign.issued);
    json.at("broken").get_to(sign.broken);
    json.at("reason").get_to(sign.reason);
    if (json.contains("left")) sign.left = json["left"].get<int>();
    if (json.contains("wait")) {
      const auto& at = json["wait"];
      sign.wait = Wait{at.at("sequence"), at.at("ranks"), at.at("operation"), at.at("number"), at.at("seconds")};
    }
    return sign;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt; // as if nothing had come
  }
}

void Judge::see(int rank, SignOfLife sign, double now) {
  Seen& seen = seen_[static_cast<std::size_t>(rank)];
  if (!seen.sign || seen.sign->number != sign.number) seen.since = now;
  seen.sign = std::move(sign);
}

std::string Judge::name(int rank) const {
  std::string text = "rank " + std::to_string(rank);
  if (const auto& sign = seen(rank).sign)
    text += " (host " + sign->host + ", process " + std::to_string(sign->process) + ")";
  return text;
}

std::string Judge::activity(int rank) const {
  const auto& sign = seen(rank).sign;
  if (!sign) return "never seen";
  std::string text = "in step " + std::to_string(sign->step);
  if (sign->wait) text += ", waiting in " + describe_wait(*sign->wait);
  if (!sign->doing.empty()) text += ", " + sign->doing;
  return text;
}

std::string Judge::describe(int rank) const { return name(rank) + ", last seen " + activity(rank); }

std::optional<std::string> Judge::verdict(double now, bool all_seen) const {
  if (auto text = ended_badly(now, false)) return text;
  if (auto text = silent(now)) return text;
  if (all_seen)
    if (auto text = hung()) return text;
  return ended_badly(now, true);
}

/// A rank that ended because it had lost another is the last to be blamed: who that was may show a moment later.
std::optional<std::string> Judge::ended_badly(double now, bool lost_too) const {
  for (std::size_t rank = 0; rank < seen_.size(); ++rank) {
    const Seen& seen = seen_[rank];
    if (!seen.sign || !seen.sign->left) continue;
    const int code = *seen.sign->left;
    if (code == 0 || code == exit_code(Code::stopped)) continue;
    const bool lost = code == exit_code(Code::peer_lost);
    if (lost != lost_too || (lost && now - seen.since <= limits_.lost_after)) continue;
    return name(static_cast<int>(rank)) + " ended with exit code " + std::to_string(code) + " in step " +
           std::to_string(seen.sign->step) + ": " + seen.sign->reason;
  }
  return std::nullopt;
}

std::optional<std::string> Judge::silent(double now) const {
  // Once a connection broke, half the silence is enough: somebody is gone.
  const bool broken =
      std::any_of(seen_.begin(), seen_.end(), [](const Seen& seen) { return seen.sign && seen.sign->broken; });
  const double limit = broken ? limits_.lost_after / 2 : limits_.lost_after;
  std::vector<int> ranks;
  double longest = 0;
  for (std::size_t rank = 0; rank < seen_.size(); ++rank) {
    const Seen& seen = seen_[rank];
    if (!seen.sign || seen.sign->left || now - seen.since <= limit) continue;
    ranks.push_back(static_cast<int>(rank));
    longest = std::max(longest, now - seen.since);
  }
  if (ranks.empty()) return std::nullopt;
  const int first = ranks.front();
  std::string text =
      name(first) + " has given no sign of life for " + in_seconds(longest) + "; last seen " + activity(first);
  if (ranks.size() > 1) text += "; silent too: " + rank_list({ranks.begin() + 1, ranks.end()});
  return text;
}

std::vector<int> Judge::behind(const SignOfLife::Wait& wait) const {
  const std::string key = sequence_key(wait.sequence, wait.ranks);
  std::vector<int> ranks;
  for (const int rank : wait.ranks) {
    if (rank < 0 || rank >= static_cast<int>(seen_.size()) || !seen(rank).sign) continue;
    const auto found = seen(rank).sign->issued.find(key);
    if (found == seen(rank).sign->issued.end() || found->second < wait.number) ranks.push_back(rank);
  }
  return ranks;
}

std::optional<std::string> Judge::hung() const {
  // The longest wait, and from there to whom it waits for, until somebody waits for nobody.
  int waiting = -1;
  for (std::size_t rank = 0; rank < seen_.size(); ++rank) {
    const auto& sign = seen_[rank].sign;
    if (!sign || sign->left || !sign->wait || sign->wait->seconds <= limits_.timeout) continue;
    if (waiting < 0 || sign->wait->seconds > seen(waiting).sign->wait->seconds) waiting = static_cast<int>(rank);
  }
  if (waiting < 0) return std::nullopt;
  std::set<int> asked;
  while (asked.insert(waiting).second) {
    const SignOfLife::Wait& wait = *seen(waiting).sign->wait;
    const std::vector<int> late = behind(wait);
    if (late.empty()) break;
    const auto idle = std::find_if(late.begin(), late.end(), [this](int rank) { return !seen(rank).sign->wait; });
    if (idle != late.end())
      return name(*idle) + " has not come to " + describe_wait(wait) + ", in which rank " + std::to_string(waiting) +
             " has waited for " + in_seconds(wait.seconds) + "; it is " + activity(*idle);
    waiting = late.front();
  }
  const SignOfLife::Wait& wait = *seen(waiting).sign->wait;
  return describe_wait(wait) + " has not ended on " + name(waiting) + " within " + in_seconds(wait.seconds) +
         ", though every rank has come to it or waits for another in a circle; it is " + activity(waiting);
}

} // namespace conclave
