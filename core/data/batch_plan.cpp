// The batch plan over a token store.
//
// A batch is made in four steps, all pure functions of its index: the schedule says how many samples of each domain; a
// domain's samples come from its endless stream of epochs (held out: from one epoch), each epoch one permutation of its
// samples; the batch's positions are shuffled, so that a micro-batch mixes domains (bucket mode sorts them by length
// instead); micro-step m of rank r takes positions [(m * ranks + r) * micro_batch, ...).

#include "data/batch_plan.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>

#include "data/domain_schedule.hpp"
#include "data/feistel.hpp"
#include "data/samples.hpp"
#include "io/digest.hpp"

namespace conclave::data {
namespace {

std::string counted(std::int64_t n, const char* what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

struct PlacedSample {
  std::size_t domain = 0; ///< index into the plan's domains
  std::int64_t sample = 0;
  std::int64_t length = 0; ///< inputs
};

class StorePlan final : public BatchPlan {
 public:
  StorePlan(std::shared_ptr<const TokenStore> store, const PlanSettings& settings, std::vector<std::size_t> domains)
      : store_(std::move(store)),
        settings_(settings),
        domains_(std::move(domains)),
        schedule_(integer_shares(shares()), settings.global_batch),
        order_(settings.seed, "data/batch-order") {
    for (const std::size_t domain : domains_) {
      samples_.emplace_back(*store_, settings_, domain);
      streams_.emplace_back(settings_.seed, "data/order/" + store_->domain_name(domain));
    }
    Digest digest;
    digest.text("plan 1").text(store_->digest()).number(settings_.bucket ? 1 : 0);
    digest.number(settings_.document_attention ? 1 : 0).number(settings_.max_length).number(settings_.global_batch);
    digest.number(settings_.seed).number(settings_.split == Split::train ? 0 : 1);
    for (std::size_t d = 0; d < domains_.size(); ++d)
      digest.number(static_cast<std::uint64_t>(domains_[d])).number(schedule_.parts()[d]);
    digest_ = digest.hex();
  }

  [[nodiscard]] const std::string& digest() const override { return digest_; }

  [[nodiscard]] std::int64_t batches() const override {
    if (settings_.split == Split::train) return std::numeric_limits<std::int64_t>::max();
    std::int64_t all = 0;
    for (std::size_t d = 0; d < domains_.size(); ++d) all = std::max(all, batches_of(d));
    return all;
  }

  /// The arithmetic of an error, or ok.
  [[nodiscard]] Status check() const {
    const std::int64_t group = settings_.micro_batch * settings_.data_ranks;
    if (settings_.global_batch % group != 0)
      return invalid("a global batch of " + counted(settings_.global_batch, "sequence") +
                         " is not a multiple of micro_batch x data ranks = " + std::to_string(settings_.micro_batch) +
                         " x " + std::to_string(settings_.data_ranks) + " = " + std::to_string(group),
                     "change train.batch, train.micro_batch or parallel.data", "train.batch");
    const std::string unit = settings_.bucket ? "document" : "sequence";
    std::int64_t total = 0;
    std::string list;
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const std::int64_t count = samples_[d].count();
      const std::int64_t tokens = store_->tokens(settings_.split, domains_[d]);
      if (count == 0)
        return invalid("domain '" + store_->domain_name(domains_[d]) + "' is smaller than one sample: it has " +
                           counted(tokens, "token") + " and a sample takes " +
                           (settings_.bucket ? "a document" : std::to_string(settings_.max_length) + " + 1"),
                       "give it more text or lower data.length.max",
                       "data.domains." + store_->domain_name(domains_[d]));
      total += count;
      list += (list.empty() ? "" : ", ") + store_->domain_name(domains_[d]) + " " + std::to_string(count) + " (" +
              counted(tokens, "token") + ")";
    }
    if (settings_.split == Split::held_out) return {}; // its batches need not be full
    if (total < settings_.global_batch)
      return invalid("the corpus is smaller than one batch: it has " + counted(total, unit.c_str()) + " of up to " +
                         counted(settings_.max_length, "token") + ": " + list + "; one batch takes " +
                         std::to_string(settings_.global_batch),
                     "lower train.batch or data.length.max, or give more text", "train.batch");
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const std::int64_t parts = schedule_.parts()[d];
      const std::int64_t sum = std::accumulate(schedule_.parts().begin(), schedule_.parts().end(), std::int64_t{0});
      const std::int64_t seats = (settings_.global_batch * parts + sum - 1) / sum;
      if (samples_[d].count() < seats)
        return invalid(
            "domain '" + store_->domain_name(domains_[d]) + "' is smaller than its part of one batch: it has " +
                counted(samples_[d].count(), unit.c_str()) + " of up to " + counted(settings_.max_length, "token") +
                " and its share " + std::to_string(parts) + "/" + std::to_string(sum) + " of a batch of " +
                std::to_string(settings_.global_batch) + " takes up to " + std::to_string(seats),
            "lower train.batch, data.length.max or its share, or give it more text",
            "data.domains." + store_->domain_name(domains_[d]));
    }
    return {};
  }

  [[nodiscard]] StepPlan plan(std::int64_t batch_index) const override {
    StepPlan step;
    step.batch_index = batch_index;
    step.domain_sequences.assign(store_->domain_count(), 0);
    step.domain_tokens.assign(store_->domain_count(), 0);
    const std::vector<PlacedSample> batch = place(batch_index);
    step.global_sequences = static_cast<std::int64_t>(batch.size());
    for (const PlacedSample& each : batch) {
      const std::size_t domain = domains_[each.domain];
      ++step.domain_sequences[domain];
      step.domain_tokens[domain] += each.length;
      step.global_loss_tokens += samples_[each.domain].loss_tokens(each.sample);
    }
    const auto group = static_cast<std::size_t>(settings_.micro_batch * settings_.data_ranks);
    for (std::size_t begin = 0; begin < batch.size(); begin += group)
      step.micro_steps.push_back(micro_step(std::span(batch).subspan(begin, std::min(group, batch.size() - begin))));
    return step;
  }

  [[nodiscard]] HostStep build(std::int64_t batch_index) const override {
    StepPlan planned = plan(batch_index);
    HostStep step;
    for (const MicroStep& micro : planned.micro_steps) step.micro_batches.push_back(fill(micro));
    static_cast<StepTotals&>(step) = static_cast<StepTotals&&>(planned);
    return step;
  }

 private:
  [[nodiscard]] std::vector<double> shares() const {
    double total = 0;
    std::vector<double> shares;
    for (const std::size_t domain : domains_) total += store_->share(domain);
    for (const std::size_t domain : domains_) shares.push_back(store_->share(domain) / total);
    return shares;
  }

  /// Batches until the domain's samples have been given once.
  [[nodiscard]] std::int64_t batches_of(std::size_t d) const {
    std::int64_t enough = 1;
    while (schedule_.before(enough, d) < samples_[d].count()) enough *= 2;
    std::int64_t few = enough / 2;
    while (enough - few > 1) {
      const std::int64_t middle = few + (enough - few) / 2;
      (schedule_.before(middle, d) < samples_[d].count() ? few : enough) = middle;
    }
    return enough;
  }

  /// The samples of the whole batch in their final order, the same on every rank.
  [[nodiscard]] std::vector<PlacedSample> place(std::int64_t batch_index) const {
    std::vector<PlacedSample> batch;
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const std::int64_t size = samples_[d].count(), first = schedule_.before(batch_index, d);
      std::int64_t end = first + schedule_.count(batch_index, d);
      if (settings_.split == Split::held_out) end = std::min(end, size);
      std::int64_t epoch = -1;
      Permutation permutation(1, streams_[d], 0);
      for (std::int64_t j = first; j < end; ++j) {
        if (j / size != epoch) {
          epoch = j / size;
          permutation = Permutation(static_cast<std::uint64_t>(size), streams_[d], static_cast<std::uint64_t>(epoch));
        }
        const auto sample = static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(j % size)));
        batch.push_back({d, sample, samples_[d].length(sample)});
      }
    }
    std::vector<PlacedSample> shuffled(batch.size());
    const Permutation positions(batch.size(), order_, static_cast<std::uint64_t>(batch_index));
    for (std::size_t i = 0; i < batch.size(); ++i) shuffled[positions(i)] = batch[i];
    if (settings_.bucket) // the longest first: a batch that does not fit the memory fails at once
      std::stable_sort(shuffled.begin(), shuffled.end(),
                       [](const PlacedSample& a, const PlacedSample& b) { return a.length > b.length; });
    return shuffled;
  }

  /// This rank's part of one micro-step, padded to the longest row of all ranks. `group`: the samples of all ranks; fewer
  /// than their rows at the end of a held-out pass.
  [[nodiscard]] MicroStep micro_step(std::span<const PlacedSample> group) const {
    MicroStep micro;
    micro.rows = settings_.micro_batch;
    micro.length = settings_.max_length;
    if (settings_.bucket) {
      std::int64_t longest = 0;
      for (const PlacedSample& each : group) longest = std::max(longest, each.length);
      const std::int64_t step = settings_.bucket_step;
      micro.length = std::min((longest + step - 1) / step * step, settings_.max_length);
    }
    const auto rows = static_cast<std::size_t>(micro.rows);
    micro.padded =
        group.size() < rows * static_cast<std::size_t>(settings_.data_ranks) ||
        std::any_of(group.begin(), group.end(), [&](const PlacedSample& each) { return each.length < micro.length; });
    const std::size_t first = std::min(group.size(), rows * static_cast<std::size_t>(settings_.data_rank));
    for (const PlacedSample& each : group.subspan(first, std::min(rows, group.size() - first)))
      micro.samples.push_back({domains_[each.domain], each.sample});
    return micro;
  }

  [[nodiscard]] HostMicroBatch fill(const MicroStep& planned) const {
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
      const auto [domain, sample] = planned.samples[row];
      samples_of(domain).fill(sample, static_cast<std::int64_t>(row), micro);
      micro.domains[row] = static_cast<std::int64_t>(domain);
    }
    return micro;
  }

  [[nodiscard]] const DomainSamples& samples_of(std::size_t domain) const {
    const auto found = std::find(domains_.begin(), domains_.end(), domain);
    return samples_[static_cast<std::size_t>(found - domains_.begin())];
  }

  std::shared_ptr<const TokenStore> store_;
  PlanSettings settings_;
  std::vector<std::size_t> domains_; ///< of the store; positions below are indices into this
  DomainSchedule schedule_;
  RandomStream order_;
  std::vector<DomainSamples> samples_;
  std::vector<RandomStream> streams_;
  std::string digest_;
};

} // namespace

Result<std::shared_ptr<const BatchPlan>> make_batch_plan(std::shared_ptr<const TokenStore> store,
                                                         const PlanSettings& settings) {
  if (settings.max_length < 1 || settings.bucket_step < 1 || settings.global_batch < 1 || settings.micro_batch < 1)
    return invalid("a batch needs a length, a size and a micro-batch of at least 1", "", "train");
  if (settings.data_ranks < 1 || settings.data_rank < 0 || settings.data_rank >= settings.data_ranks)
    return internal_error("data rank " + std::to_string(settings.data_rank) + " of " +
                          std::to_string(settings.data_ranks));
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
  auto plan = std::make_shared<StorePlan>(std::move(store), settings, std::move(domains));
  CONCLAVE_RETURN_IF_ERROR(plan->check());
  return std::shared_ptr<const BatchPlan>(std::move(plan));
}

} // namespace conclave::data
