// 1F1B, interleaved 1F1B, and a player that finds deadlocks.

#include "train/pipeline_schedule.hpp"

#include <algorithm>
#include <set>
#include <tuple>

namespace conclave::train {
namespace {

using Kind = PipelineAction::Kind;

/// The k-th forward or backward pass of a rank, counted over its chunks.
PipelineAction nth(const PipelineShape& shape, Kind kind, int k) {
  const int pack = shape.ranks * shape.virtual_stages;
  const int turn = k % pack / shape.ranks;
  const int chunk = kind == Kind::forward ? turn : shape.virtual_stages - 1 - turn;
  return {kind, chunk, k / pack * shape.ranks + k % shape.ranks};
}

std::vector<PipelineAction> rank_schedule(const PipelineShape& shape, int rank) {
  const bool interleaved = shape.virtual_stages > 1;
  const int total = shape.micro_batches * shape.virtual_stages;
  const int distance = shape.ranks - rank - 1; // to the last rank
  const int ahead = interleaved ? 2 * distance + (shape.virtual_stages - 1) * shape.ranks : distance;
  const int warm_up = std::min(ahead, total);
  const auto action = [&](Kind kind, int k) { return interleaved ? nth(shape, kind, k) : PipelineAction{kind, 0, k}; };
  std::vector<PipelineAction> actions;
  for (int k = 0; k < warm_up; ++k) actions.push_back(action(Kind::forward, k));
  for (int k = warm_up; k < total; ++k) {
    actions.push_back(action(Kind::forward, k));
    actions.push_back(action(Kind::backward, k - warm_up));
  }
  for (int k = total - warm_up; k < total; ++k) actions.push_back(action(Kind::backward, k));
  return actions;
}

/// A chunk of the whole model, and a micro-batch in it.
using Pass = std::tuple<Kind, int, int>;

class Player {
 public:
  Player(const PipelineSchedule& schedule, const PipelineShape& shape, bool forward_only)
      : schedule_(schedule), shape_(shape), forward_only_(forward_only), next_(schedule.size(), 0) {}

  Result<PipelineCheck> play() {
    PipelineCheck check;
    check.kept.assign(schedule_.size(), 0);
    std::vector<int> kept(schedule_.size(), 0);
    while (!finished()) {
      std::vector<std::pair<std::size_t, Pass>> round;
      for (std::size_t rank = 0; rank < schedule_.size(); ++rank) {
        if (next_[rank] == schedule_[rank].size()) continue;
        const PipelineAction& action = schedule_[rank][next_[rank]];
        const Pass pass{action.kind, action.chunk * shape_.ranks + static_cast<int>(rank), action.micro_batch};
        if (action.chunk < 0 || action.chunk >= shape_.virtual_stages || action.micro_batch < 0 ||
            action.micro_batch >= shape_.micro_batches || done_.contains(pass))
          return wrong(rank, "is out of place");
        if (possible(pass)) round.emplace_back(rank, pass);
      }
      if (round.empty()) return stuck();
      for (const auto& [rank, pass] : round) {
        done_.insert(pass);
        ++next_[rank];
        if (!forward_only_) kept[rank] += std::get<Kind>(pass) == Kind::forward ? 1 : -1;
        check.kept[rank] = std::max(check.kept[rank], kept[rank]);
      }
      ++check.length;
    }
    const std::size_t passes = forward_only_ ? 1 : 2;
    if (done_.size() != passes * static_cast<std::size_t>(shape_.ranks * shape_.virtual_stages * shape_.micro_batches))
      return internal_error("the pipeline schedule leaves out a chunk or a micro-batch");
    return check;
  }

 private:
  [[nodiscard]] bool finished() const {
    for (std::size_t rank = 0; rank < schedule_.size(); ++rank)
      if (next_[rank] < schedule_[rank].size()) return false;
    return true;
  }

  [[nodiscard]] bool possible(const Pass& pass) const {
    const auto& [kind, chunk, micro] = pass;
    const int last = shape_.ranks * shape_.virtual_stages - 1;
    if (kind == Kind::forward) return chunk == 0 || done_.contains({Kind::forward, chunk - 1, micro});
    return done_.contains({Kind::forward, chunk, micro}) &&
           (chunk == last || done_.contains({Kind::backward, chunk + 1, micro}));
  }

  [[nodiscard]] Error wrong(std::size_t rank, const std::string& what) const {
    return internal_error("pipeline schedule: " + to_string(schedule_[rank][next_[rank]]) + " of rank " +
                          std::to_string(rank) + " " + what);
  }

  [[nodiscard]] Error stuck() const {
    for (std::size_t rank = 0; rank < schedule_.size(); ++rank)
      if (next_[rank] < schedule_[rank].size()) return wrong(rank, "waits for ever");
    return internal_error("pipeline schedule: nothing is left to do");
  }

  const PipelineSchedule& schedule_;
  const PipelineShape& shape_;
  bool forward_only_;
  std::vector<std::size_t> next_;
  std::set<Pass> done_;
};

} // namespace

std::string to_string(const PipelineAction& action) {
  return std::string(action.kind == Kind::forward ? "forward" : "backward") + " of chunk " +
         std::to_string(action.chunk) + ", micro-batch " + std::to_string(action.micro_batch);
}

Result<PipelineSchedule> make_pipeline_schedule(const PipelineShape& shape) {
  if (shape.virtual_stages > 1) {
    const std::string m = std::to_string(shape.micro_batches), p = std::to_string(shape.ranks);
    if (shape.ranks == 1)
      return invalid("virtual stages interleave the ranks of a pipeline, and there is one rank",
                     "set parallel.virtual_stages to 1, or parallel.pipeline above 1");
    if (shape.micro_batches % shape.ranks != 0)
      return invalid("an interleaved pipeline takes micro-batches in packs of its " + p + " ranks: " + m + " / " + p +
                         " is not whole",
                     "choose train.batch and train.micro_batch so that it is, or parallel.virtual_stages: 1");
  }
  PipelineSchedule schedule;
  for (int rank = 0; rank < shape.ranks; ++rank) schedule.push_back(rank_schedule(shape, rank));
  return schedule;
}

PipelineSchedule make_forward_schedule(const PipelineShape& shape) {
  PipelineSchedule schedule(static_cast<std::size_t>(shape.ranks));
  for (auto& actions : schedule)
    for (int micro = 0; micro < shape.micro_batches; ++micro)
      for (int chunk = 0; chunk < shape.virtual_stages; ++chunk) actions.push_back({Kind::forward, chunk, micro});
  return schedule;
}

Result<PipelineCheck> check_pipeline_schedule(const PipelineSchedule& schedule, const PipelineShape& shape,
                                              bool forward_only) {
  return Player(schedule, shape, forward_only).play();
}

} // namespace conclave::train
