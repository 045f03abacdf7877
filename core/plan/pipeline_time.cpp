// Every rank in turn goes as far as it can.

#include "plan/pipeline_time.hpp"

#include <algorithm>
#include <cstddef>

namespace conclave::plan {
namespace {

using train::PipelineAction;
using Kind = PipelineAction::Kind;

constexpr double never = -1;

class Player {
 public:
  Player(const train::PipelineShape& shape, const std::vector<ChunkSeconds>& chunks)
      : shape_(shape), chunks_(chunks), done_(2, std::vector<double>(chunks.size() * micro_batches(), never)) {}

  /// False: its message has not been sent yet.
  bool run(const PipelineAction& action, int rank, PlayedRank& played) {
    const std::size_t chunk = static_cast<std::size_t>(action.chunk * shape_.ranks + rank);
    const double ready = arrival(action, chunk);
    if (ready == never) return false;
    const bool forward = action.kind == Kind::forward;
    const double time = forward ? chunks_[chunk].forward : chunks_[chunk].backward;
    played.end = std::max(played.end, ready) + time;
    played.busy += time;
    if (!forward && action.micro_batch + 1 == shape_.micro_batches) played.last_pass += time;
    done(action.kind, chunk, action.micro_batch) = played.end;
    return true;
  }

 private:
  [[nodiscard]] std::size_t micro_batches() const { return static_cast<std::size_t>(shape_.micro_batches); }

  double& done(Kind kind, std::size_t chunk, int micro_batch) {
    return done_[kind == Kind::forward ? 0 : 1][chunk * micro_batches() + static_cast<std::size_t>(micro_batch)];
  }

  double arrival(const PipelineAction& action, std::size_t chunk) {
    if (action.kind == Kind::forward) {
      if (chunk == 0) return 0;
      const double sent = done(Kind::forward, chunk - 1, action.micro_batch);
      return sent == never ? never : sent + chunks_[chunk - 1].send_forward;
    }
    if (chunk + 1 == chunks_.size()) return done(Kind::forward, chunk, action.micro_batch);
    const double sent = done(Kind::backward, chunk + 1, action.micro_batch);
    return sent == never ? never : sent + chunks_[chunk + 1].send_backward;
  }

  const train::PipelineShape& shape_;
  const std::vector<ChunkSeconds>& chunks_;
  std::vector<std::vector<double>> done_;
};

Result<std::vector<PlayedRank>> play_all(const train::PipelineShape& shape, const std::vector<ChunkSeconds>& chunks) {
  CONCLAVE_ASSIGN(const train::PipelineSchedule schedule, train::make_pipeline_schedule(shape));
  Player player(shape, chunks);
  std::vector<PlayedRank> played(schedule.size());
  std::vector<std::size_t> next(schedule.size(), 0);
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t rank = 0; rank < schedule.size(); ++rank)
      while (next[rank] < schedule[rank].size() &&
             player.run(schedule[rank][next[rank]], static_cast<int>(rank), played[rank])) {
        ++next[rank];
        moved = true;
      }
  }
  return played;
}

} // namespace

Result<std::vector<PlayedRank>> play_pipeline(const train::PipelineShape& shape,
                                              const std::vector<ChunkSeconds>& chunks) {
  const int enough = 8 * shape.ranks * shape.virtual_stages;
  if (shape.micro_batches <= enough + 2 * shape.ranks) return play_all(shape, chunks);
  train::PipelineShape some = shape;
  some.micro_batches = enough + shape.micro_batches % shape.ranks;
  CONCLAVE_ASSIGN(const std::vector<PlayedRank> fewer, play_all(some, chunks));
  some.micro_batches += shape.ranks;
  CONCLAVE_ASSIGN(std::vector<PlayedRank> played, play_all(some, chunks));
  const double rounds = static_cast<double>(shape.micro_batches - some.micro_batches) / shape.ranks;
  for (std::size_t rank = 0; rank < played.size(); ++rank) {
    played[rank].end += rounds * (played[rank].end - fewer[rank].end);
    played[rank].busy += rounds * (played[rank].busy - fewer[rank].busy);
  }
  return played;
}

} // namespace conclave::plan
