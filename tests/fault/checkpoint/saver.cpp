// Saves checkpoints one after another until it is killed: `checkpoint_saver DIRECTORY FIRST_STEP`. Each verified step is
// written to stdout as 8 bytes.

#include <unistd.h>

#include <cstdlib>

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

} // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  conclave::CheckpointStore::Settings settings;
  settings.directory = arguments[1];
  settings.policy = std::make_shared<KeepThree>();
  settings.max_file_bytes = 100'000; // several files
  settings.committed = [](const conclave::CheckpointEntry& entry) {
    (void)!::write(STDOUT_FILENO, &entry.step, sizeof entry.step);
  };
  auto store = conclave::open_checkpoint_store(settings);
  if (!store.ok()) return 3;
  for (std::int64_t step = std::strtoll(arguments[2], nullptr, 10);; ++step)
    if (!(*store)->save(conclave::checkpoint_test::snapshot_of(step, 2000)).ok()) return 4;
}
