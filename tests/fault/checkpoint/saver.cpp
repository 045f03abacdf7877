// Saves checkpoints one after another until it is killed: `checkpoint_saver DIRECTORY FIRST_STEP [RANKS]`. Each verified
// step is written to stdout as 8 bytes. Ranks are threads; each saves its rows.

#include <unistd.h>

#include <cstdlib>

#include "unit/checkpoint/memory_peers.hpp"
#include "unit/checkpoint/snapshots.hpp"

namespace {

class KeepThree final : public conclave::CheckpointPolicy {
 public:
  [[nodiscard]] bool due(std::int64_t, std::int64_t) const override { return true; }
  [[nodiscard]] std::vector<std::int64_t> retire(std::span<const conclave::CheckpointInfo> committed) const override {
    std::vector<std::int64_t> steps;
    for (std::size_t i = 0; i + 3 < committed.size(); ++i) steps.push_back(committed[i].step);
    return steps;
  }
};

int save_for_ever(const char* directory, std::int64_t first, conclave::Peers* peers) {
  const int rank = peers->rank(), ranks = peers->size();
  conclave::CheckpointStore::Settings settings;
  settings.directory = directory;
  settings.peers = peers;
  settings.policy = std::make_shared<KeepThree>();
  settings.max_file_bytes = 100'000; // several files
  settings.committed = [rank](const conclave::CheckpointEntry& entry) {
    if (rank == 0) (void)!::write(STDOUT_FILENO, &entry.step, sizeof entry.step);
  };
  auto store = conclave::open_checkpoint_store(settings);
  if (!store.ok()) return 3;
  for (std::int64_t step = first;; ++step) {
    auto snapshot = conclave::checkpoint_test::snapshot_of(step, 2000);
    std::vector<conclave::TensorShard> shares;
    for (conclave::TensorShard& shard : snapshot.tensors)
      if (shard.global_shape.size() == 2) {
        const std::int64_t begin = 2000 * rank / ranks, end = 2000 * (rank + 1) / ranks;
        shares.push_back({shard.name, shard.global_shape, {begin, 0}, shard.value.slice(0, begin, end)});
      } else if (rank == 0) {
        shares.push_back(shard);
      }
    snapshot.tensors = std::move(shares);
    if (!(*store)->save(std::move(snapshot)).ok()) return 4;
  }
}

} // namespace

int main(int count, char** arguments) {
  if (count != 3 && count != 4) return 2;
  conclave::checkpoint_test::MemoryPeers peers(count == 4 ? std::atoi(arguments[3]) : 1);
  peers.run([&](int rank) {
    std::_Exit(save_for_ever(arguments[1], std::strtoll(arguments[2], nullptr, 10), peers.at(rank)));
  });
}
