// PipelineTransfers: activations and their gradients between the ranks of a pipeline.
//
// Messages between two ranks meet in the order in which they were sent. Every rank knows every rank's schedule, so it knows
// the order in which its neighbour sends, and takes messages in that order whichever it needs first. A message is sent as
// soon as it is there; who sent it goes on.
//
// Threading: the step thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "conclave/parallel/group.hpp"
#include "train/pipeline_schedule.hpp"

namespace conclave::train {

class PipelineTransfers {
 public:
  /// Makes an empty tensor for what is to be received by (kind, local chunk, micro-batch).
  using Allocate = std::function<at::Tensor(const PipelineAction& by)>;

  /// `group` spans the pipeline; null or of one rank: nothing is ever sent.
  PipelineTransfers(Group* group, int virtual_stages);

  /// Before the first action of a step.
  void begin(const PipelineSchedule& schedule);
  /// Whether that action of this rank needs a message, from the chunk before (forward) or behind (backward).
  [[nodiscard]] bool needs(const PipelineAction& action) const;
  /// The message that `action` needs.
  at::Tensor receive(const PipelineAction& action, const Allocate& allocate);
  /// Hands on what `action` made, when a chunk of another rank needs it.
  void send(const PipelineAction& action, const at::Tensor& tensor);
  /// After the last action: everything that was sent has been taken.
  void finish();

 private:
  using Key = std::tuple<PipelineAction::Kind, int, int>; // what the receiving rank does with it
  struct Step {                                           // of a message: who gets it, and for which action
    int rank;
    PipelineAction action;
  };
  [[nodiscard]] bool hands_on(int rank, const PipelineAction& action, Step& to) const;

  Group* group_ = nullptr;
  int ranks_ = 1, rank_ = 0, virtual_stages_ = 1;
  std::vector<std::deque<PipelineAction>> coming_; ///< by rank: actions of ours that its messages serve, in its order
  std::map<Key, at::Tensor> early_;                ///< came before it was needed
  std::deque<std::pair<Work, at::Tensor>> sent_;
};

} // namespace conclave::train
