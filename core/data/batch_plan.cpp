// The batch plan over a token store.
//
// A batch is made in four steps, all pure functions of its index: its stage's schedule says how many samples of each domain; a
// domain's samples come from its endless stream of passes (held out: from one pass), each pass one permutation of its
// samples; the batch's positions are shuffled, so that a micro-batch mixes domains (bucket mode sorts them by length
// instead); micro-step m of rank r takes positions [(m * ranks + r) * micro_batch, ...).

#include "data/batch_plan.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

#include "data/feistel.hpp"
#include "data/run_stages.hpp"
#include "io/digest.hpp"

namespace conclave::data {
namespace {

struct PlacedSample {
  std::size_t domain = 0; ///< index into the plan's domains
  PlacedId id;
  SampleSize size;
};

class StorePlan final : public BatchPlan {
 public:
  StorePlan(std::shared_ptr<const TokenStore> store, const PlanSettings& settings, std::vector<std::size_t> domains,
            std::vector<std::int64_t> windows)
      : store_(std::move(store)),
        settings_(settings),
        domains_(std::move(domains)),
        windows_(std::move(windows)),
        order_(settings.seed, "data/batch-order"),
        stages_(make_run_stages(*store_, settings_, domains_, windows_)),
        digest_(make_digest()) {}

  [[nodiscard]] const std::string& digest() const override { return digest_; }

  [[nodiscard]] std::int64_t batches() const override {
    if (settings_.split == Split::train) return std::numeric_limits<std::int64_t>::max();
    std::int64_t all = 0;
    for (std::size_t d = 0; d < domains_.size(); ++d) all = std::max(all, batches_of(d));
    return all;
  }

  [[nodiscard]] std::vector<PlanStage> stages() const override {
    std::vector<PlanStage> all;
    for (const RunStage& stage : stages_) {
      const auto& parts = stage.schedule.parts();
      const auto total = static_cast<double>(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}));
      PlanStage& described = all.emplace_back();
      described.first = stage.first;
      described.length = stage.length;
      described.shares.assign(store_->domain_count(), 0);
      for (std::size_t d = 0; d < domains_.size(); ++d)
        described.shares[domains_[d]] = static_cast<double>(parts[d]) / total;
    }
    return all;
  }

  [[nodiscard]] std::vector<double> passes(std::int64_t batches) const override {
    std::vector<double> all(store_->domain_count(), 0);
    const RunStage& stage = stage_of(std::max<std::int64_t>(batches - 1, 0));
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const std::int64_t samples = stage.schedule.before(batches - stage.first, d);
      all[domains_[d]] = static_cast<double>(stage.orders[d].window_after(samples)) / static_cast<double>(windows_[d]);
    }
    return all;
  }

  /// The arithmetic of an error, or ok.
  [[nodiscard]] Status check() const {
    if (settings_.split == Split::held_out) return {}; // its batches need not be full
    for (const RunStage& stage : stages_)
      CONCLAVE_RETURN_IF_ERROR(check_run_stage(*store_, settings_, domains_, windows_, stage));
    return {};
  }

  [[nodiscard]] StepPlan plan(std::int64_t batch_index) const override {
    StepPlan step;
    step.batch_index = batch_index;
    step.domain_sequences.assign(store_->domain_count(), 0);
    step.domain_tokens.assign(store_->domain_count(), 0);
    const RunStage& stage = stage_of(batch_index);
    const std::vector<PlacedSample> batch = place(stage, batch_index);
    step.global_sequences = static_cast<std::int64_t>(batch.size());
    for (const PlacedSample& each : batch) {
      const std::size_t domain = domains_[each.domain];
      ++step.domain_sequences[domain];
      step.domain_tokens[domain] += each.size.inputs;
      step.global_loss_tokens += each.size.labels;
    }
    const auto group = static_cast<std::size_t>(settings_.micro_batch * settings_.data_ranks);
    for (std::size_t begin = 0; begin < batch.size(); begin += group)
      step.micro_steps.push_back(
          micro_step(stage, std::span(batch).subspan(begin, std::min(group, batch.size() - begin))));
    for (const MicroStep& micro : step.micro_steps)
      step.global_places += micro.rows * settings_.data_ranks * micro.length;
    return step;
  }

  [[nodiscard]] HostStep build(std::int64_t batch_index) const override {
    StepPlan planned = plan(batch_index);
    const RunStage& stage = stage_of(batch_index);
    HostStep step;
    SampleTokens tokens;
    for (const MicroStep& micro : planned.micro_steps) step.micro_batches.push_back(fill(stage, micro, tokens));
    static_cast<StepTotals&>(step) = static_cast<StepTotals&&>(planned);
    return step;
  }

  [[nodiscard]] std::vector<std::int64_t> documents(std::int64_t batch_index, const SampleId& id) const override {
    const auto d = std::find(domains_.begin(), domains_.end(), id.domain) - domains_.begin();
    return stage_of(batch_index).samples[static_cast<std::size_t>(d)].documents(id.sample);
  }

 private:
  [[nodiscard]] std::string make_digest() const {
    Digest digest;
    digest.text("plan 2").text(store_->digest()).number(settings_.bucket ? 2 : settings_.packs ? 1 : 0);
    digest.number(settings_.document_attention ? 1 : 0).number(settings_.max_length).number(settings_.global_batch);
    digest.number(settings_.seed).number(settings_.split == Split::train ? 0 : 1);
    for (const RunStage& stage : stages_) {
      digest.number(stage.first).number(stage.length);
      for (std::size_t d = 0; d < domains_.size(); ++d)
        digest.number(static_cast<std::uint64_t>(domains_[d])).number(stage.schedule.parts()[d]);
    }
    const FillInMiddle& fim = settings_.fill_in_middle;
    digest.number(fim.rate).number(fim.spm).number(fim.prefix).number(fim.suffix).number(fim.middle);
    for (const std::size_t domain : domains_) digest.number(fim.applies(domain) ? 1 : 0);
    return digest.hex();
  }

  /// The last stage that begins at or before the batch.
  [[nodiscard]] const RunStage& stage_of(std::int64_t batch_index) const {
    const auto next = std::upper_bound(stages_.begin(), stages_.end(), batch_index,
                                       [](std::int64_t batch, const RunStage& stage) { return batch < stage.first; });
    return *std::prev(next);
  }

  /// Held out: batches until the domain's samples have been given once.
  [[nodiscard]] std::int64_t batches_of(std::size_t d) const {
    const DomainSchedule& schedule = stages_.front().schedule;
    std::int64_t enough = 1;
    while (schedule.before(enough, d) < windows_[d]) enough *= 2;
    std::int64_t few = enough / 2;
    while (enough - few > 1) {
      const std::int64_t middle = few + (enough - few) / 2;
      (schedule.before(middle, d) < windows_[d] ? few : enough) = middle;
    }
    return enough;
  }

  /// The samples of the whole batch in their final order, the same on every rank.
  [[nodiscard]] std::vector<PlacedSample> place(const RunStage& stage, std::int64_t batch_index) const {
    std::vector<PlacedSample> batch;
    std::vector<PlacedId> ids;
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const std::int64_t first = stage.schedule.before(batch_index - stage.first, d);
      std::int64_t end = first + stage.schedule.count(batch_index - stage.first, d);
      if (settings_.split == Split::held_out) end = std::min(end, windows_[d]);
      ids.clear();
      stage.orders[d].append(first, end, ids);
      for (const PlacedId& id : ids) batch.push_back({d, id, stage.samples[d].size(id.sample)});
    }
    std::vector<PlacedSample> shuffled(batch.size());
    const Permutation positions(batch.size(), order_, static_cast<std::uint64_t>(batch_index));
    for (std::size_t i = 0; i < batch.size(); ++i) shuffled[positions(i)] = batch[i];
    if (settings_.bucket) // the longest first: a batch that does not fit the memory fails at once
      std::stable_sort(shuffled.begin(), shuffled.end(),
                       [](const PlacedSample& a, const PlacedSample& b) { return a.size.inputs > b.size.inputs; });
    return shuffled;
  }

  /// This rank's part of one micro-step, padded to the longest row of all ranks. `group`: the samples of all ranks; fewer
  /// than their rows at the end of a held-out pass.
  [[nodiscard]] MicroStep micro_step(const RunStage& stage, std::span<const PlacedSample> group) const {
    MicroStep micro;
    micro.rows = settings_.micro_batch;
    micro.length = stage.length;
    if (settings_.bucket) {
      std::int64_t longest = 0;
      for (const PlacedSample& each : group) longest = std::max(longest, each.size.inputs);
      const std::int64_t step = settings_.bucket_step;
      micro.length = std::min((longest + step - 1) / step * step, stage.length);
    }
    const auto rows = static_cast<std::size_t>(micro.rows);
    // Packs nearly always leave some room: as if they always did, so that all micro-batches are of one shape.
    micro.padded = settings_.packs != nullptr || group.size() < rows * static_cast<std::size_t>(settings_.data_ranks) ||
                   std::any_of(group.begin(), group.end(),
                               [&](const PlacedSample& each) { return each.size.inputs < micro.length; });
    const std::size_t first = std::min(group.size(), rows * static_cast<std::size_t>(settings_.data_rank));
    for (const PlacedSample& each : group.subspan(first, std::min(rows, group.size() - first)))
      micro.samples.push_back({domains_[each.domain], each.id.pass, each.id.sample});
    return micro;
  }

  [[nodiscard]] HostMicroBatch fill(const RunStage& stage, const MicroStep& planned, SampleTokens& tokens) const {
    HostMicroBatch micro;
    micro.rows = planned.rows;
    micro.length = planned.length;
    const auto cells = static_cast<std::size_t>(micro.rows * micro.length);
    micro.tokens.assign(cells, 0);
    micro.labels.assign(cells, 0);
    micro.position_ids.assign(cells, 0);
    micro.loss_mask.assign(cells, 0);
    if (planned.padded) micro.token_mask.assign(cells, 0);
    if (!settings_.bucket && settings_.document_attention) micro.segment_ids.assign(cells, 0);
    micro.domains.assign(static_cast<std::size_t>(micro.rows), static_cast<std::int64_t>(domains_.front()));
    for (std::size_t row = 0; row < planned.samples.size(); ++row) {
      const SampleId& id = planned.samples[row];
      const auto d = std::find(domains_.begin(), domains_.end(), id.domain) - domains_.begin();
      stage.samples[static_cast<std::size_t>(d)].fill(id.pass, id.sample, static_cast<std::int64_t>(row), micro,
                                                      tokens);
      micro.domains[row] = static_cast<std::int64_t>(id.domain);
    }
    return micro;
  }

  std::shared_ptr<const TokenStore> store_;
  PlanSettings settings_;
  std::vector<std::size_t> domains_;  ///< of the store; positions below are indices into this
  std::vector<std::int64_t> windows_; ///< samples of max_length in one pass
  RandomStream order_;
  std::vector<RunStage> stages_; ///< ascending; the first begins with batch 0
  std::string digest_;
};

/// Samples of max_length in one pass over each domain, or the arithmetic of the one that has none.
Result<std::vector<std::int64_t>> count_windows(const TokenStore& store, const PlanSettings& settings,
                                                const std::vector<std::size_t>& domains) {
  std::vector<std::int64_t> windows;
  for (const std::size_t domain : domains) {
    windows.push_back(DomainSamples(store, settings, domain, settings.max_length).count());
    if (windows.back() > 0) continue;
    const std::string& name = store.domain_name(domain);
    return invalid(
        "domain '" + name + "' is smaller than one sample: it has " +
            counted(store.tokens(settings.split, domain), "token") + " and a sample takes " +
            (settings.bucket || settings.packs ? "a document" : std::to_string(settings.max_length) + " + 1"),
        "give it more text or lower data.length.max", "data.domains." + name);
  }
  return windows;
}

} // namespace

Result<std::shared_ptr<const BatchPlan>> make_batch_plan(std::shared_ptr<const TokenStore> store,
                                                         const PlanSettings& settings) {
  if (settings.max_length < 1 || settings.bucket_step < 1 || settings.global_batch < 1 || settings.micro_batch < 1)
    return invalid("a batch needs a length, a size and a micro-batch of at least 1", "", "train");
  if (settings.data_ranks < 1 || settings.data_rank < 0 || settings.data_rank >= settings.data_ranks)
    return internal_error("data rank " + std::to_string(settings.data_rank) + " of " +
                          std::to_string(settings.data_ranks));
  if (settings.packs &&
      (settings.bucket || settings.split != Split::train || settings.packs->length() != settings.max_length))
    return internal_error("a pack table that does not fit the plan");
  const std::int64_t group = settings.micro_batch * settings.data_ranks;
  if (settings.global_batch % group != 0)
    return invalid("a global batch of " + counted(settings.global_batch, "sequence") +
                       " is not a multiple of micro_batch x data ranks = " + std::to_string(settings.micro_batch) +
                       " x " + std::to_string(settings.data_ranks) + " = " + std::to_string(group),
                   "change train.batch, train.micro_batch or parallel.data", "train.batch");
  const std::size_t count = store->domain_count();
  std::vector<std::size_t> domains;
  if (settings.only_domain >= 0) {
    if (static_cast<std::size_t>(settings.only_domain) >= count)
      return internal_error("domain " + std::to_string(settings.only_domain) + " of " + std::to_string(count));
    domains.push_back(static_cast<std::size_t>(settings.only_domain));
  } else {
    domains.resize(count);
    std::iota(domains.begin(), domains.end(), std::size_t{0});
  }
  CONCLAVE_RETURN_IF_ERROR(check_curriculum(*store, settings));
  CONCLAVE_ASSIGN(auto windows, count_windows(*store, settings, domains));
  auto plan = std::make_shared<StorePlan>(std::move(store), settings, std::move(domains), std::move(windows));
  CONCLAVE_RETURN_IF_ERROR(plan->check());
  return std::shared_ptr<const BatchPlan>(std::move(plan));
}

} // namespace conclave::data
