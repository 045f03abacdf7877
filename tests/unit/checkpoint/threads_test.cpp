// The writer thread beside a step thread that goes on changing its tensors. Meant for -DCONCLAVE_SANITIZE=thread as well.

#include <gmock/gmock.h>

#include "fixture.hpp"

namespace conclave::checkpoint_test {
namespace {

class KeepTwo final : public CheckpointPolicy {
 public:
  [[nodiscard]] bool due(std::int64_t step, std::int64_t) const override { return step % 2 == 0; }
  [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const override {
    std::vector<std::int64_t> steps;
    for (std::size_t i = 0; i + 2 < committed.size(); ++i) steps.push_back(committed[i].step);
    return steps;
  }
};

using Threads = CheckpointTest;

TEST_F(Threads, TrainingGoesOnWhileACheckpointIsWritten) {
  CheckpointStore::Settings settings;
  settings.policy = std::make_shared<KeepTwo>();
  settings.max_file_bytes = 10'000;
  std::vector<std::int64_t> committed; // written by the writer thread, read after wait()
  settings.committed = [&](const CheckpointEntry& entry) { committed.push_back(entry.step); };
  auto store = open(settings);
  const at::Tensor weight = at::empty({64, 64}), moment = at::empty({64, 64});
  constexpr std::int64_t steps = 20;
  for (std::int64_t step = 1; step <= steps; ++step) {
    weight.fill_(static_cast<double>(step)); // the update, while the save before may still be written
    moment.fill_(static_cast<double>(-step));
    if (!settings.policy->due(step, steps)) continue;
    Snapshot snapshot;
    snapshot.step = step;
    snapshot.tensors = {whole("weight", weight), whole("optimizer/moment", moment)};
    snapshot.states["host"]["step"] = step;
    ASSERT_TRUE(store->save(std::move(snapshot)).ok());
    EXPECT_LE(store->list().size(), 4u); // listing races with the writer by design and must not fail
  }
  ASSERT_TRUE(store->wait().ok());
  EXPECT_THAT(committed, testing::ElementsAre(2, 4, 6, 8, 10, 12, 14, 16, 18, 20));
  for (const CheckpointEntry& entry : store->list()) {
    const auto reader = open_checkpoint(entry.path);
    ASSERT_TRUE(reader.ok()) << reader.error().render();
    const double value = static_cast<double>(entry.step);
    EXPECT_TRUE(at::equal(read_whole(**reader, "weight"), at::full({64, 64}, value)));
    EXPECT_TRUE(at::equal(read_whole(**reader, "optimizer/moment"), at::full({64, 64}, -value)));
  }
}

} // namespace
} // namespace conclave::checkpoint_test
