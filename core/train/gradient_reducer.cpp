// Launching in order, and the sum of tied copies.

#include "train/gradient_reducer.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <numeric>

namespace conclave::train {

GradientReducer::GradientReducer(ParameterStorage& storage, const ReducerSettings& settings)
    : storage_(storage), settings_(settings) {
  std::deque<FlatGroup>& groups = storage_.groups();
  // The place of each group's first parameter in the forward pass: the last that a backward pass reaches.
  std::vector<std::size_t> first(groups.size(), storage_.slots().size());
  for (std::size_t i = 0; i < storage_.slots().size(); ++i) {
    std::size_t& earliest = first[storage_.slots()[i].group];
    earliest = std::min(earliest, i);
  }
  std::vector<std::size_t> order(groups.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return first[a] > first[b]; });

  std::vector<std::size_t> place(groups.size());
  for (const std::size_t group : order) {
    place[group] = buckets_.size();
    buckets_.emplace_back().group = &groups[group];
  }
  for (ParameterSlot& slot : storage_.slots()) {
    const std::size_t bucket = place[slot.group];
    ++buckets_[bucket].parameters;
    if (groups[slot.group].ranks != nullptr) slot.sink.on_complete = [this, bucket] { complete(bucket); };
  }
}

void GradientReducer::begin_step() {
  next_ = 0;
  for (Bucket& bucket : buckets_) bucket.missing = bucket.parameters;
}

void GradientReducer::complete(std::size_t bucket) {
  --buckets_[bucket].missing;
  // Groups that are not reduced have nothing to wait for.
  while (next_ < buckets_.size() && (buckets_[next_].group->ranks == nullptr || buckets_[next_].missing == 0))
    launch(buckets_[next_++]);
}

void GradientReducer::launch(Bucket& bucket) {
  FlatGroup& group = *bucket.group;
  if (group.ranks == nullptr) return;
  const at::NoGradGuard no_grad;
  const bool sharded = group.held.size() < group.gradient.numel();
  const at::Tensor owned = group.gradient.narrow(0, group.owned.begin, group.owned.size());
  if (settings_.type == group.gradient.scalar_type()) {
    bucket.work =
        sharded ? group.ranks->reduce_scatter(owned, group.gradient) : group.ranks->all_reduce(group.gradient);
    return;
  }
  if (!bucket.sent.defined()) {
    bucket.sent = at::empty_like(group.gradient, group.gradient.options().dtype(settings_.type));
    if (sharded) bucket.received = at::empty({group.owned.size()}, bucket.sent.options());
  }
  bucket.sent.copy_(group.gradient);
  bucket.work =
      sharded ? group.ranks->reduce_scatter(bucket.received, bucket.sent) : group.ranks->all_reduce(bucket.sent);
}

void GradientReducer::finish() {
  const at::NoGradGuard no_grad;
  while (next_ < buckets_.size()) launch(buckets_[next_++]);
  for (Bucket& bucket : buckets_) {
    FlatGroup& group = *bucket.group;
    if (group.ranks != nullptr) {
      bucket.work.wait();
      if (bucket.received.defined()) {
        group.gradient.narrow(0, group.owned.begin, group.owned.size()).copy_(bucket.received);
      } else if (bucket.sent.defined()) {
        group.gradient.copy_(bucket.sent);
      }
    }
  }
  for (FlatGroup& group : storage_.groups())
    if (group.tied_peer >= 0) exchange_tied(group);
}

/// Both ranks get the same bits: a sum of two does not depend on their order.
void GradientReducer::exchange_tied(FlatGroup& group) {
  at::Tensor mine = group.gradient.narrow(0, group.held.begin, group.held.size());
  const at::Tensor theirs = at::empty_like(mine), sent = mine.clone();
  Work sending = settings_.pipeline->send(sent, group.tied_peer);
  settings_.pipeline->receive(theirs, group.tied_peer).wait();
  sending.wait();
  mine.add_(theirs);
}

} // namespace conclave::train
