// The batch plan over a token store.
//
// A batch is made in four steps, all pure functions of its index: the schedule says how many samples of each domain; a
// domain's samples come from its endless stream of epochs, each epoch one permutation of its samples; the batch's
// positions are shuffled, so that a micro-batch mixes domains (bucket mode sorts them by length instead); micro-step m of
// rank r takes positions [(m * ranks + r) * micro_batch, ...).

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "data/digest.hpp"
#include "data/domain_schedule.hpp"
#include "data/feistel.hpp"
#include "data/loader.hpp"
#include "data/samples.hpp"

namespace conclave::data {
namespace {

std::string counted(std::int64_t n, const char* what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

struct PlacedSample {
  std::size_t domain = 0;
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

  [[nodiscard]] std::int64_t samples(std::size_t domain) const override {
    const auto found = std::find(domains_.begin(), domains_.end(), domain);
    return found == domains_.end() ? 0 : samples_[static_cast<std::size_t>(found - domains_.begin())].count();
  }

  [[nodiscard]] double epochs(std::int64_t batches, std::size_t domain) const override {
    const auto found = std::find(domains_.begin(), domains_.end(), domain);
    if (found == domains_.end()) return 0;
    const auto d = static_cast<std::size_t>(found - domains_.begin());
    return static_cast<double>(schedule_.before(batches, d)) / static_cast<double>(samples_[d].count());
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
    if (settings_.split == Split::held_out) return {}; // evaluation may go round more than once
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

  [[nodiscard]] HostStep build(std::int64_t batch_index) const override {
    HostStep step;
    step.batch_index = batch_index;
    step.global_sequences = settings_.global_batch;
    step.domain_sequences.assign(store_->domain_count(), 0);
    step.domain_tokens.assign(store_->domain_count(), 0);
    const std::vector<PlacedSample> batch = place(batch_index);
    for (const PlacedSample& each : batch) {
      const std::size_t domain = domains_[each.domain];
      ++step.domain_sequences[domain];
      step.domain_tokens[domain] += each.length;
      step.global_loss_tokens += samples_[each.domain].loss_tokens(each.sample);
    }
    const std::int64_t group = settings_.micro_batch * settings_.data_ranks;
    for (std::int64_t begin = 0; begin < settings_.global_batch; begin += group)
      step.micro_batches.push_back(
          fill(std::span(batch).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(group))));
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

  /// The whole batch in its final order, the same on every rank.
  [[nodiscard]] std::vector<PlacedSample> place(std::int64_t batch_index) const {
    std::vector<PlacedSample> batch(static_cast<std::size_t>(settings_.global_batch));
    const Permutation positions(batch.size(), order_, static_cast<std::uint64_t>(batch_index));
    std::uint64_t position = 0;
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const std::int64_t size = samples_[d].count(), first = schedule_.before(batch_index, d);
      const std::int64_t end = first + schedule_.count(batch_index, d);
      std::int64_t epoch = -1;
      Permutation permutation(1, streams_[d], 0);
      for (std::int64_t j = first; j < end; ++j) {
        if (j / size != epoch) {
          epoch = j / size;
          permutation = Permutation(static_cast<std::uint64_t>(size), streams_[d], static_cast<std::uint64_t>(epoch));
        }
        const auto sample = static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(j % size)));
        batch[positions(position++)] = {d, sample, samples_[d].length(sample)};
      }
    }
    if (settings_.bucket) // the longest first: a batch that does not fit the memory fails at once
      std::stable_sort(batch.begin(), batch.end(),
                       [](const PlacedSample& a, const PlacedSample& b) { return a.length > b.length; });
    return batch;
  }

  /// This rank's rows of one micro-step, padded to the longest row of all ranks.
  [[nodiscard]] HostMicroBatch fill(std::span<const PlacedSample> group) const {
    HostMicroBatch micro;
    micro.rows = settings_.micro_batch;
    micro.length = settings_.max_length;
    if (settings_.bucket) {
      std::int64_t longest = 0;
      for (const PlacedSample& each : group) longest = std::max(longest, each.length);
      const std::int64_t step = settings_.bucket_step;
      micro.length = std::min((longest + step - 1) / step * step, settings_.max_length);
    }
    const auto mine = group.subspan(static_cast<std::size_t>(settings_.data_rank * settings_.micro_batch),
                                    static_cast<std::size_t>(settings_.micro_batch));
    const auto cells = static_cast<std::size_t>(micro.rows * micro.length);
    micro.tokens.assign(cells, 0);
    micro.labels.assign(cells, 0);
    micro.position_ids.assign(cells, 0);
    micro.loss_mask.assign(cells, 0);
    const bool padded =
        std::any_of(group.begin(), group.end(), [&](const PlacedSample& each) { return each.length < micro.length; });
    if (padded) micro.token_mask.assign(cells, 0); // the same decision on every rank
    if (!settings_.bucket && settings_.document_attention) micro.segment_ids.assign(cells, 0);
    for (std::int64_t row = 0; row < micro.rows; ++row) {
      const PlacedSample& each = mine[static_cast<std::size_t>(row)];
      samples_[each.domain].fill(each.sample, row, micro);
      micro.domains.push_back(static_cast<std::int64_t>(domains_[each.domain]));
    }
    return micro;
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
