// Ordered messages along the pipeline.

#include "train/pipeline_transfers.hpp"

#include <stdexcept>

namespace conclave::train {

using Kind = PipelineAction::Kind;

PipelineTransfers::PipelineTransfers(Group* group, int virtual_stages)
    : group_(group), virtual_stages_(virtual_stages) {
  if (group_ == nullptr) return;
  ranks_ = group_->size();
  rank_ = group_->rank();
}

/// Where the result of an action of `rank` goes; false when it stays (the last chunk forward, the first one backward).
bool PipelineTransfers::hands_on(int rank, const PipelineAction& action, Step& to) const {
  const int chunk = action.chunk * ranks_ + rank + (action.kind == Kind::forward ? 1 : -1);
  if (chunk < 0 || chunk == ranks_ * virtual_stages_) return false;
  to = {chunk % ranks_, {action.kind, chunk / ranks_, action.micro_batch}};
  return true;
}

void PipelineTransfers::begin(const PipelineSchedule& schedule) {
  early_.clear();
  sent_.clear(); // of a step that failed half-way
  coming_.assign(static_cast<std::size_t>(ranks_), {});
  if (ranks_ == 1) return;
  for (int rank = 0; rank < ranks_; ++rank) {
    if (rank == rank_) continue;
    for (const PipelineAction& action : schedule[static_cast<std::size_t>(rank)]) {
      Step to{};
      if (hands_on(rank, action, to) && to.rank == rank_) coming_[static_cast<std::size_t>(rank)].push_back(to.action);
    }
  }
}

bool PipelineTransfers::needs(const PipelineAction& action) const {
  const int chunk = action.chunk * ranks_ + rank_;
  return action.kind == Kind::forward ? chunk > 0 : chunk < ranks_ * virtual_stages_ - 1;
}

at::Tensor PipelineTransfers::receive(const PipelineAction& action, const Allocate& allocate) {
  const Key wanted{action.kind, action.chunk, action.micro_batch};
  if (const auto found = early_.find(wanted); found != early_.end()) {
    at::Tensor tensor = std::move(found->second);
    early_.erase(found);
    return tensor;
  }
  const int from = (rank_ + (action.kind == Kind::forward ? ranks_ - 1 : 1)) % ranks_;
  std::deque<PipelineAction>& coming = coming_[static_cast<std::size_t>(from)];
  while (!coming.empty()) {
    const PipelineAction next = coming.front();
    coming.pop_front();
    at::Tensor tensor = allocate(next);
    group_->receive(tensor, from).wait();
    if (next == action) return tensor;
    early_.emplace(Key{next.kind, next.chunk, next.micro_batch}, std::move(tensor));
  }
  throw std::logic_error("no rank sends what " + to_string(action) + " needs");
}

void PipelineTransfers::send(const PipelineAction& action, const at::Tensor& tensor) {
  Step to{};
  if (!hands_on(rank_, action, to)) return;
  const at::Tensor whole = tensor.detach().contiguous();
  sent_.emplace_back(group_->send(whole, to.rank), whole);
  // The tensors of old messages are let go. A neighbour takes messages in its schedule's order whatever we do meanwhile, and
  // is never further behind than its warm-up.
  const auto window = static_cast<std::size_t>(4 * ranks_ * virtual_stages_);
  while (sent_.size() > window) {
    sent_.front().first.wait();
    sent_.pop_front();
  }
}

void PipelineTransfers::finish() {
  for (auto& [work, tensor] : sent_) work.wait();
  sent_.clear();
}

} // namespace conclave::train
