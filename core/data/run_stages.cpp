// Stages from a curriculum, and what is too small for them.

#include "data/run_stages.hpp"

#include <algorithm>
#include <numeric>

namespace conclave::data {
namespace {

/// Of the plan's domains; they sum to 1.
std::vector<double> shares_of(const CurriculumStage& stage, const std::vector<std::size_t>& domains,
                              const std::vector<double>& otherwise) {
  if (stage.shares.empty()) return otherwise;
  std::vector<double> shares;
  for (const std::size_t domain : domains) shares.push_back(stage.shares[domain]);
  const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share /= total;
  return shares;
}

} // namespace

std::string counted(std::int64_t n, const char* what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

Status check_curriculum(const TokenStore& store, const PlanSettings& settings) {
  std::int64_t before = -1;
  for (std::size_t i = 0; i < settings.curriculum.size(); ++i) {
    const CurriculumStage& stage = settings.curriculum[i];
    const std::string where = "data.curriculum[" + std::to_string(i) + "]";
    if (stage.first <= before)
      return invalid("begins with batch " + std::to_string(stage.first) + ", not behind the stage before it",
                     "write the stages in the order of their `from`", where + ".from");
    before = stage.first;
    const auto& shares = stage.shares;
    if (!shares.empty() && (shares.size() != store.domain_count() ||
                            std::any_of(shares.begin(), shares.end(), [](double share) { return share < 0; }) ||
                            std::accumulate(shares.begin(), shares.end(), 0.0) <= 0))
      return invalid("gives no share above 0 to any domain", "give one for each domain", where + ".shares");
    if (stage.length == 0 || stage.length == settings.max_length) continue;
    if (settings.packs)
      return invalid("whole documents are packed for one length, " + std::to_string(settings.max_length),
                     "leave the stage's length out, or write batching: {packing: concat}", where + ".length");
    if (stage.length < 0 || stage.length > settings.max_length ||
        (!settings.bucket && settings.max_length % stage.length != 0))
      return invalid(std::to_string(stage.length) + (settings.bucket ? " is not up to" : " does not divide") +
                         " data.length.max = " + std::to_string(settings.max_length),
                     settings.bucket ? "lower it" : "a sequence is cut into equal parts: give a divisor",
                     where + ".length");
  }
  return {};
}

std::vector<RunStage> make_run_stages(const TokenStore& store, const PlanSettings& settings,
                                      const std::vector<std::size_t>& domains,
                                      const std::vector<std::int64_t>& windows) {
  std::vector<double> given;
  for (const std::size_t domain : domains) given.push_back(store.share(domain));
  const std::vector<double> base =
      domain_shares(settings.weights, given, windows, settings.batches * settings.global_batch);
  std::vector<CurriculumStage> described = settings.curriculum;
  if (described.empty() || described.front().first > 0) described.insert(described.begin(), CurriculumStage{});

  std::vector<RunStage> stages;
  std::vector<std::int64_t> begin(domains.size(), 0); // windows of each domain's stream that are behind
  for (std::size_t i = 0; i < described.size(); ++i) {
    const std::int64_t length = described[i].length > 0 ? described[i].length : settings.max_length;
    const std::int64_t batch = settings.global_batch;
    RunStage& stage = stages.emplace_back(
        RunStage{described[i].first,
                 length,
                 DomainSchedule(integer_shares(shares_of(described[i], domains, base), batch), batch),
                 {},
                 {}});
    StageSpan span;
    span.stage = static_cast<int>(i);
    span.pieces = settings.bucket ? 1 : settings.max_length / length;
    for (std::size_t d = 0; d < domains.size(); ++d) {
      span.begin = begin[d];
      span.end = StageSpan::endless;
      if (i + 1 < described.size()) {
        const std::int64_t samples = stage.schedule.before(described[i + 1].first - stage.first, d);
        span.end = begin[d] = span.begin + (samples + span.pieces - 1) / span.pieces;
      }
      stage.orders.emplace_back(settings.seed, store.domain_name(domains[d]), windows[d], span);
      stage.samples.emplace_back(store, settings, domains[d], length);
    }
  }
  return stages;
}

Status check_run_stage(const TokenStore& store, const PlanSettings& settings, const std::vector<std::size_t>& domains,
                       const std::vector<std::int64_t>& windows, const RunStage& stage) {
  const std::string unit = settings.bucket ? "document" : "sequence";
  const std::string of_length = " of up to " + counted(stage.length, "token");
  const std::string from = stage.first > 0 ? " (from batch " + std::to_string(stage.first) + " on)" : "";
  const std::int64_t pieces = settings.bucket ? 1 : settings.max_length / stage.length;
  const auto& parts = stage.schedule.parts();
  const std::int64_t sum = std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
  std::int64_t total = 0;
  std::string list;
  for (std::size_t d = 0; d < domains.size(); ++d) {
    if (parts[d] == 0) continue;
    total += windows[d] * pieces;
    list += (list.empty() ? "" : ", ") + store.domain_name(domains[d]) + " " + std::to_string(windows[d] * pieces) +
            " (" + counted(store.tokens(settings.split, domains[d]), "token") + ")";
  }
  if (total < settings.global_batch)
    return invalid("the corpus is smaller than one batch" + from + ": it has " + counted(total, unit.c_str()) +
                       of_length + ": " + list + "; one batch takes " + std::to_string(settings.global_batch),
                   "lower train.batch or data.length.max, or give more text", "train.batch");
  for (std::size_t d = 0; d < domains.size(); ++d) {
    const std::int64_t count = windows[d] * pieces, seats = (settings.global_batch * parts[d] + sum - 1) / sum;
    if (count < seats)
      return invalid("domain '" + store.domain_name(domains[d]) + "' is smaller than its part of one batch" + from +
                         ": it has " + counted(count, unit.c_str()) + of_length + " and its share " +
                         std::to_string(parts[d]) + "/" + std::to_string(sum) + " of a batch of " +
                         std::to_string(settings.global_batch) + " takes up to " + std::to_string(seats),
                     "lower train.batch, data.length.max or its share, or give it more text",
                     "data.domains." + store.domain_name(domains[d]));
  }
  return {};
}

} // namespace conclave::data
