// CheckpointStore from save to open: round trips, boxes, states, retention, leftovers, damage.

#include <ATen/ops/rand.h>
#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <limits>

#include "fixture.hpp"
#include "plugin/guard.hpp"

namespace conclave::checkpoint_test {
namespace {

class KeepNewest final : public CheckpointPolicy {
 public:
  explicit KeepNewest(std::size_t keep) : keep_(keep) {}
  [[nodiscard]] bool due(std::int64_t, std::int64_t) const override { return true; }
  [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const override {
    std::vector<std::int64_t> steps;
    for (std::size_t i = 0; i + keep_ < committed.size(); ++i) steps.push_back(committed[i].step);
    return steps;
  }

 private:
  std::size_t keep_;
};

std::vector<std::int64_t> steps_of(const CheckpointStore& store) {
  std::vector<std::int64_t> steps;
  for (const CheckpointEntry& entry : store.list()) steps.push_back(entry.step);
  return steps;
}

using Store = CheckpointTest;

TEST_F(Store, ReadsBackWhatItWrote) {
  auto store = open();
  ASSERT_TRUE(store->save(snapshot_of(20)).ok());
  ASSERT_TRUE(store->wait().ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(20));
  const auto reader = open_checkpoint(folder(20));
  ASSERT_TRUE(reader.ok()) << reader.error().render();
  expect_holds(**reader, 20);
  EXPECT_EQ((*reader)->meta_json(), R"({"config_hash":"abc"})");
  EXPECT_EQ((*reader)->file("resolved.yaml").value(), "name: test\n");
  EXPECT_FALSE((*reader)->file("absent.yaml").ok());
  EXPECT_FALSE((*reader)->shape("absent").ok());
}

TEST_F(Store, CopiesBeforeSaveReturns) {
  auto store = open();
  Snapshot snapshot = snapshot_of(3);
  const at::Tensor live = snapshot.tensors[0].value;
  const at::Tensor before = live.clone();
  ASSERT_TRUE(store->save(std::move(snapshot)).ok());
  live.fill_(-1); // the next update
  ASSERT_TRUE(store->wait().ok());
  EXPECT_TRUE(at::equal(read_whole(**open_checkpoint(folder(3)), "model.embed.weight"), before));
}

TEST_F(Store, KeepsEveryDtypeBitForBit) {
  auto store = open();
  Snapshot snapshot;
  snapshot.step = 1;
  snapshot.meta_json = "{}";
  const at::Tensor values = at::arange(-7, 8, at::TensorOptions().dtype(at::kDouble)).div(3);
  const std::vector<at::ScalarType> types = {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong,
                                             at::kInt,    at::kShort, at::kChar, at::kByte,     at::kBool};
  for (const at::ScalarType type : types) snapshot.tensors.push_back(whole(c10::toString(type), values.abs().to(type)));
  ASSERT_TRUE(store->save(snapshot).ok());
  ASSERT_TRUE(store->wait().ok());
  const auto reader = open_checkpoint(folder(1));
  ASSERT_TRUE(reader.ok()) << reader.error().render();
  for (const TensorShard& shard : snapshot.tensors) {
    EXPECT_EQ((*reader)->dtype(shard.name).value(), shard.value.scalar_type());
    EXPECT_TRUE(at::equal(read_whole(**reader, shard.name, shard.value.scalar_type()), shard.value)) << shard.name;
  }
}

TEST_F(Store, TakesAnyStrideAndEmptyTensors) {
  auto store = open();
  Snapshot snapshot;
  snapshot.step = 1;
  snapshot.meta_json = "{}";
  const at::Tensor values = at::rand({6, 10});
  snapshot.tensors = {whole("transposed", values.t()), whole("sliced", values.slice(1, 1, 9, 3)),
                      whole("empty", at::empty({0, 4})), whole("scalar", values[0][0])};
  ASSERT_TRUE(store->save(snapshot).ok());
  ASSERT_TRUE(store->wait().ok());
  const auto reader = open_checkpoint(folder(1));
  ASSERT_TRUE(reader.ok()) << reader.error().render();
  for (const TensorShard& shard : snapshot.tensors)
    EXPECT_TRUE(at::equal(read_whole(**reader, shard.name), shard.value)) << shard.name;
}

TEST_F(Store, ReadsBoxesAcrossTheBoxesThatWereWritten) {
  const at::Tensor values = at::rand({6, 8, 5});
  Snapshot snapshot;
  snapshot.step = 7;
  snapshot.meta_json = "{}";
  const std::vector<std::int64_t> shape = {6, 8, 5};
  // Four boxes as two tensor ranks and two experts' halves would write them.
  for (const std::int64_t row : {0, 2})
    for (const std::int64_t column : {0, 3})
      snapshot.tensors.push_back(box("w", shape, {row, column, 0},
                                     values.slice(0, row, row == 0 ? 2 : 6).slice(1, column, column == 0 ? 3 : 8)));
  CheckpointStore::Settings settings;
  settings.max_file_bytes = 200; // several files
  auto store = open(settings);
  ASSERT_TRUE(store->save(snapshot).ok());
  ASSERT_TRUE(store->wait().ok());
  const auto reader = open_checkpoint(folder(7));
  ASSERT_TRUE(reader.ok()) << reader.error().render();
  EXPECT_TRUE(at::equal(read_whole(**reader, "w"), values));
  for (const auto& [offset, size] :
       std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>>{{{0, 0, 0}, {1, 1, 1}},
                                                                                    {{1, 2, 1}, {3, 4, 3}},
                                                                                    {{5, 7, 4}, {1, 1, 1}},
                                                                                    {{0, 0, 2}, {6, 8, 1}},
                                                                                    {{2, 0, 0}, {2, 8, 5}}}) {
    at::Tensor expected = values;
    for (std::int64_t axis = 0; axis < 3; ++axis) expected = expected.narrow(axis, offset[axis], size[axis]);
    at::Tensor out = at::empty(size);
    ASSERT_TRUE((*reader)->read("w", offset, out).ok());
    EXPECT_TRUE(at::equal(out, expected));
    at::Tensor other = at::empty(size, at::TensorOptions().dtype(at::kBFloat16)); // converted, and into a strided view
    ASSERT_TRUE((*reader)->read("w", offset, other).ok());
    EXPECT_TRUE(at::equal(other, expected.to(at::kBFloat16)));
    at::Tensor strided = at::empty({size[0], size[1], size[2] * 2}).slice(2, 0, size[2] * 2, 2);
    ASSERT_TRUE((*reader)->read("w", offset, strided).ok());
    EXPECT_TRUE(at::equal(strided, expected));
  }
  EXPECT_FALSE((*reader)->read("w", {0, 0, 1}, at::empty(shape)).ok());
  EXPECT_FALSE((*reader)->read("w", {0, 0}, at::empty({6, 8})).ok());
  EXPECT_FALSE((*reader)->read("w", {-1, 0, 0}, at::empty({1, 1, 1})).ok());
}

TEST_F(Store, RefusesBoxesThatOverlapOrLeaveAHole) {
  auto store = open();
  const at::Tensor half = at::rand({2, 4});
  const auto save = [&](std::vector<TensorShard> shards) {
    Snapshot snapshot;
    snapshot.step = 1;
    snapshot.meta_json = "{}";
    snapshot.tensors = std::move(shards);
    return store->save(std::move(snapshot));
  };
  EXPECT_FALSE(save({box("w", {4, 4}, {0, 0}, half)}).ok());
  EXPECT_FALSE(save({box("w", {4, 4}, {0, 0}, half), box("w", {4, 4}, {1, 0}, half)}).ok());
  EXPECT_FALSE(save({box("w", {4, 4}, {0, 0}, half), box("w", {4, 4}, {3, 0}, half)}).ok());
  EXPECT_FALSE(save({box("w", {4, 4}, {0, 0}, half), box("w", {4, 4}, {2, 0}, half.to(at::kDouble))}).ok());
  EXPECT_FALSE(save({whole("w", half), whole("w", half)}).ok());
  EXPECT_TRUE(save({box("w", {4, 4}, {0, 0}, half), box("w", {4, 4}, {2, 0}, half)}).ok());
}

TEST_F(Store, KeepsStatesOfEveryKind) {
  auto store = open();
  Snapshot snapshot = snapshot_of(1);
  const double third = 1.0 / 3;
  StateMap& state = snapshot.states["scheduler"];
  state["integer"] = std::numeric_limits<std::int64_t>::min();
  state["third"] = third;
  state["zero"] = -0.0;
  state["nan"] = std::nan("");
  state["infinite"] = -std::numeric_limits<double>::infinity();
  state["text"] = std::string("Gr\xC3\xBC\xC3\x9F Gott\n");
  state["bytes"] = std::string("\xff\x00\x01", 3);
  state["array"] = StateArray{
      "I32",
      {2},
      {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{2}, std::byte{0}, std::byte{0}, std::byte{0}}};
  state["half"] = StateArray{"BF16", {1}, {std::byte{0x80}, std::byte{0x3f}}};
  ASSERT_TRUE(store->save(snapshot).ok());
  ASSERT_TRUE(store->wait().ok());
  const auto reader = open_checkpoint(folder(1));
  ASSERT_TRUE(reader.ok()) << reader.error().render();
  const StateMap& back = (*reader)->states().at("scheduler");
  EXPECT_EQ(std::get<std::int64_t>(back.at("integer")), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(std::get<double>(back.at("third")), third);
  EXPECT_TRUE(std::signbit(std::get<double>(back.at("zero"))));
  EXPECT_TRUE(std::isnan(std::get<double>(back.at("nan"))));
  EXPECT_EQ(std::get<double>(back.at("infinite")), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(std::get<std::string>(back.at("text")), std::get<std::string>(state["text"]));
  EXPECT_EQ(std::get<std::string>(back.at("bytes")), std::get<std::string>(state["bytes"]));
  EXPECT_EQ(std::get<StateArray>(back.at("array")).data, std::get<StateArray>(state["array"]).data);
  EXPECT_EQ(std::get<StateArray>(back.at("half")).dtype, "BF16");
}

TEST_F(Store, RetiresOnlyAfterTheNewOneIsGood) {
  CheckpointStore::Settings settings;
  settings.policy = std::make_shared<KeepNewest>(2);
  std::vector<std::int64_t> committed;
  settings.committed = [&](const CheckpointEntry& entry) {
    committed.push_back(entry.step);
    // The old ones are still there while the new one is announced.
    EXPECT_GE(static_cast<std::size_t>(std::distance(fs::directory_iterator(entry.path.parent_path()), {})),
              std::min<std::size_t>(committed.size(), 3));
  };
  auto store = open(settings);
  for (const std::int64_t step : {10, 20, 30, 40}) ASSERT_TRUE(store->save(snapshot_of(step)).ok());
  ASSERT_TRUE(store->wait().ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(30, 40));
  EXPECT_THAT(committed, testing::ElementsAre(10, 20, 30, 40));
}

TEST_F(Store, NeverRetiresTheNewestAndSurvivesAThrowingPolicy) {
  class Greedy final : public CheckpointPolicy {
   public:
    [[nodiscard]] bool due(std::int64_t, std::int64_t) const override { return true; }
    [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const override {
      if (committed.size() == 1 && committed[0].step == 1) throw std::runtime_error("no");
      return {committed[0].step, committed.back().step, 99};
    }
  };
  CheckpointStore::Settings settings;
  settings.policy = std::make_shared<Greedy>();
  settings.policy_id = "checkpoint/greedy";
  std::atomic<int> warnings = 0;
  settings.warn = [&](const Error& error) { warnings += error.where == "checkpoint/greedy"; };
  auto store = open(settings);
  ASSERT_TRUE(store->save(snapshot_of(1)).ok());
  ASSERT_TRUE(store->save(snapshot_of(2)).ok());
  ASSERT_TRUE(store->wait().ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(2));
  EXPECT_EQ(warnings, 2);
}

TEST_F(Store, ThePolicyIsCalledUnderTheGuard) {
  class Watching final : public CheckpointPolicy {
   public:
    [[nodiscard]] bool due(std::int64_t, std::int64_t) const override { return true; }
    [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo>) const override {
      const char *plugin = current_breadcrumb().plugin, *call = current_breadcrumb().call;
      seen = std::string(plugin != nullptr ? plugin : "?") + " " + (call != nullptr ? call : "?");
      throw 7; // no std::exception
    }
    mutable std::string seen;
  };
  const auto policy = std::make_shared<Watching>();
  CheckpointStore::Settings settings;
  settings.policy = policy;
  settings.policy_id = "checkpoint/watching";
  std::vector<std::string> warnings;
  settings.warn = [&](const Error& error) { warnings.push_back(error.where + ": " + error.what); };
  auto store = open(settings);
  ASSERT_TRUE(store->save(snapshot_of(1)).ok());
  ASSERT_TRUE(store->wait().ok());
  EXPECT_EQ(policy->seen, "checkpoint/watching retire");
  EXPECT_THAT(warnings, testing::ElementsAre(testing::HasSubstr("checkpoint/watching: retire() threw")));
}

TEST_F(Store, GoingBackSetsLaterCheckpointsAside) {
  CheckpointStore::Settings settings;
  settings.policy = std::make_shared<KeepNewest>(2);
  std::vector<std::string> warnings;
  settings.warn = [&](const Error& error) { warnings.push_back(error.render()); };
  auto store = open(settings);
  for (const std::int64_t step : {4, 6, 8}) ASSERT_TRUE(store->save(snapshot_of(step)).ok());
  EXPECT_THAT(*store->set_aside_after(8), testing::IsEmpty()); // nothing is later; waits for the save under way
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(6, 8));
  ASSERT_TRUE(store->wait().ok());

  const auto moved = store->set_aside_after(6);
  ASSERT_TRUE(moved.ok()) << moved.error().render();
  ASSERT_EQ(moved->size(), 1u);
  EXPECT_EQ(moved->front().step, 8);
  EXPECT_EQ(moved->front().path, root / "checkpoints" / "superseded-1-step-00000008");
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(6));
  const auto aside = open_checkpoint(moved->front().path);
  ASSERT_TRUE(aside.ok()) << aside.error().render();
  expect_holds(**aside, 8);

  // The new branch's saves are the newest now: the policy keeps them, and a resume takes them.
  ASSERT_TRUE(store->save(snapshot_of(7)).ok());
  ASSERT_TRUE(store->save(snapshot_of(8)).ok());
  ASSERT_TRUE(store->wait().ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(7, 8));
  EXPECT_EQ((*store->open_latest({}))->step(), 8);
  EXPECT_THAT(warnings, testing::IsEmpty());

  // Going back again collides with nothing, and a store that is opened removes nothing of it.
  const auto again = store->set_aside_after(0);
  ASSERT_TRUE(again.ok()) << again.error().render();
  ASSERT_EQ(again->size(), 2u);
  EXPECT_EQ(again->front().path, root / "checkpoints" / "superseded-2-step-00000007");
  EXPECT_EQ(again->back().path, root / "checkpoints" / "superseded-2-step-00000008");
  store.reset();
  store = open(settings);
  EXPECT_THAT(steps_of(*store), testing::IsEmpty());
  EXPECT_EQ(std::distance(fs::directory_iterator(root / "checkpoints"), {}), 3);
  for (const auto& entry : fs::directory_iterator(root / "checkpoints"))
    EXPECT_TRUE(open_checkpoint(entry.path()).ok()) << entry.path();
  EXPECT_THAT(warnings, testing::IsEmpty());
}

TEST_F(Store, SettingAsideThatWasCutShortIsTakenUpAgain) {
  auto store = open();
  for (const std::int64_t step : {1, 2, 3, 4}) ASSERT_TRUE(store->save(snapshot_of(step)).ok());
  ASSERT_TRUE(store->wait().ok());
  // Killed after the first rename: the newest is aside, and what is left is the beginning of the old branch.
  fs::rename(folder(4), root / "checkpoints" / "superseded-12-step-00000004");
  fs::create_directory(root / "checkpoints" / "superseded-of-mine"); // somebody's own
  store = open();
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(1, 2, 3));
  ASSERT_TRUE(store->set_aside_after(1).ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(1));
  for (const char* name : {"superseded-12-step-00000004", "superseded-13-step-00000003", "superseded-13-step-00000002"})
    EXPECT_TRUE(open_checkpoint(root / "checkpoints" / name).ok()) << name;
}

TEST_F(Store, BeforeCommitSeesEveryByteAndNoManifest) {
  CheckpointStore::Settings settings;
  std::vector<std::int64_t> called;
  bool manifest = false;
  std::vector<std::string> names;
  settings.before_commit = [&](std::int64_t step) -> Status {
    called.push_back(step);
    names.clear();
    for (const fs::path& file : files_below(folder(step))) names.push_back(file.filename().string());
    manifest = manifest || fs::exists(folder(step) / "manifest.json");
    return {};
  };
  settings.committed = [&](const CheckpointEntry& entry) { EXPECT_EQ(called.back(), entry.step); };
  auto store = open(settings);
  for (const std::int64_t step : {1, 2}) ASSERT_TRUE(store->save(snapshot_of(step)).ok());
  ASSERT_TRUE(store->wait().ok());
  EXPECT_THAT(called, testing::ElementsAre(1, 2));
  EXPECT_FALSE(manifest);
  EXPECT_THAT(names, testing::UnorderedElementsAre("tensors-00001.safetensors", "resolved.yaml"));
}

TEST_F(Store, AnErrorBeforeTheCommitFailsTheSaveAndLosesNothing) {
  CheckpointStore::Settings settings;
  int mode = 0;
  settings.before_commit = [&](std::int64_t) -> Status {
    if (mode == 1) return storage_error("the rows are not on the disk", "free space", "metrics.jsonl");
    if (mode == 2) throw std::runtime_error("thrown");
    return {};
  };
  auto store = open(settings);
  ASSERT_TRUE(store->save(snapshot_of(5)).ok());
  ASSERT_TRUE(store->wait().ok());
  for (mode = 1; mode <= 2; ++mode)
    for (const std::int64_t step : {5, 6}) { // over one that is there, and a new one
      Snapshot other = snapshot_of(step);
      other.tensors[0].value = other.tensors[0].value.add(100);
      ASSERT_TRUE(store->save(std::move(other)).ok());
      const Status failed = store->wait();
      ASSERT_FALSE(failed.ok());
      EXPECT_THAT(failed.error().render(), testing::HasSubstr(mode == 1 ? "metrics.jsonl: the rows" : "thrown"));
      EXPECT_EQ(std::distance(fs::directory_iterator(root / "checkpoints"), {}), 1);
      const auto kept = open_checkpoint(folder(5));
      ASSERT_TRUE(kept.ok()) << kept.error().render();
      expect_holds(**kept, 5);
    }
}

TEST_F(Store, SaveReturnsTheErrorOfTheOneBeforeAndGoesOn) {
  CheckpointStore::Settings settings;
  settings.before_commit = [](std::int64_t step) -> Status {
    return step % 2 == 1 ? Status(storage_error("odd", {}, std::to_string(step))) : Status();
  };
  std::vector<std::string> warnings;
  settings.warn = [&](const Error& error) { warnings.push_back(error.where); };
  auto store = open(settings);
  ASSERT_TRUE(store->save(snapshot_of(1)).ok());
  const Status earlier = store->save(snapshot_of(2));
  ASSERT_FALSE(earlier.ok());
  EXPECT_EQ(earlier.error().where, "1");
  EXPECT_TRUE(store->wait().ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(2)) << "the new save was under way all the same";
  EXPECT_THAT(warnings, testing::IsEmpty());

  // A snapshot that cannot be copied: its own error is returned, the one before goes to warn, nothing is under way.
  ASSERT_TRUE(store->save(snapshot_of(3)).ok());
  Snapshot wrong = snapshot_of(4);
  wrong.meta_json = "{}";
  wrong.tensors.push_back(wrong.tensors[0]);
  const Status refused = store->save(std::move(wrong));
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().what, testing::HasSubstr("twice"));
  EXPECT_THAT(warnings, testing::ElementsAre("3"));
  EXPECT_TRUE(store->wait().ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(2));

  // Setting aside waits for the save under way and leaves its error to the next call.
  ASSERT_TRUE(store->save(snapshot_of(5)).ok());
  EXPECT_TRUE(store->set_aside_after(100).ok());
  const Status late = store->wait();
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().where, "5");
}

TEST_F(Store, ReplacesACheckpointOfTheSameStep) {
  auto store = open();
  ASSERT_TRUE(store->save(snapshot_of(5)).ok());
  Snapshot other = snapshot_of(5);
  other.tensors[0].value = other.tensors[0].value.add(100);
  const at::Tensor expected = other.tensors[0].value.clone();
  ASSERT_TRUE(store->save(std::move(other)).ok());
  ASSERT_TRUE(store->wait().ok());
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(5));
  EXPECT_TRUE(at::equal(read_whole(**open_checkpoint(folder(5)), "model.embed.weight"), expected));
  EXPECT_EQ(std::distance(fs::directory_iterator(root / "checkpoints"), {}), 1);
}

TEST_F(Store, SynchronousSaveIsCommittedWhenItReturns) {
  CheckpointStore::Settings settings;
  settings.asynchronous = false;
  auto store = open(settings);
  ASSERT_TRUE(store->save(snapshot_of(1)).ok());
  EXPECT_TRUE(open_checkpoint(folder(1)).ok());
}

TEST_F(Store, CleansUpInterruptedSaves) {
  auto store = open();
  ASSERT_TRUE(store->save(snapshot_of(10)).ok());
  ASSERT_TRUE(store->save(snapshot_of(20)).ok());
  ASSERT_TRUE(store->wait().ok());
  store.reset();
  fs::copy(folder(10), root / "checkpoints" / ".tmp-step-00000030");
  fs::copy(folder(10), folder(40));
  fs::remove(folder(40) / "manifest.json");
  fs::rename(folder(20), root / "checkpoints" / ".old-step-00000020"); // killed while replacing it
  fs::create_directory(folder(20));
  fs::create_directory(root / "checkpoints" / "notes"); // not ours: stays
  CheckpointStore::Settings settings;
  int notes = 0;
  settings.warn = [&](const Error&) { ++notes; };
  store = open(settings);
  EXPECT_THAT(steps_of(*store), testing::ElementsAre(10, 20));
  EXPECT_EQ(notes, 3);
  EXPECT_TRUE(fs::exists(root / "checkpoints" / "notes"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root / "checkpoints"), {}), 3);
  expect_holds(**store->open_latest({}), 20);
}

TEST_F(Store, FallsBackToTheNewestGoodOne) {
  auto store = open();
  for (const std::int64_t step : {1, 2, 3}) ASSERT_TRUE(store->save(snapshot_of(step)).ok());
  ASSERT_TRUE(store->wait().ok());
  flip_bit(folder(3) / "tensors-00001.safetensors", 1000, 3);
  fs::resize_file(folder(2) / "tensors-00001.safetensors", 500);
  std::vector<std::string> named;
  const auto warn = [&](const Error& error) {
    EXPECT_EQ(error.code, Code::storage);
    named.push_back(error.where);
  };
  const auto latest = store->open_latest(warn);
  ASSERT_TRUE(latest.ok());
  expect_holds(**latest, 1);
  EXPECT_THAT(named, testing::ElementsAre((folder(3) / "tensors-00001.safetensors").string(),
                                          (folder(2) / "tensors-00001.safetensors").string()));
  flip_bit(folder(1) / "manifest.json", 100, 0);
  const auto none = store->open_latest(warn);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error().code, Code::storage);
  EXPECT_EQ(open_latest_checkpoint(root / "absent", {}).error().code, Code::storage);
}

TEST_F(Store, NamesEveryDamage) {
  auto store = open();
  Snapshot snapshot = snapshot_of(1, 2);
  snapshot.states["plugin"]["array"] = StateArray{"U8", {1}, {std::byte{7}}};
  ASSERT_TRUE(store->save(snapshot).ok());
  ASSERT_TRUE(store->wait().ok());
  const fs::path pristine = root / "pristine";
  fs::copy(folder(1), pristine, fs::copy_options::recursive);
  const auto restore = [&] {
    fs::remove_all(folder(1));
    fs::copy(pristine, folder(1), fs::copy_options::recursive);
  };
  const auto expect_named = [&](const fs::path& file, const char* damage) {
    const auto reader = open_checkpoint(folder(1));
    ASSERT_FALSE(reader.ok()) << damage << " of " << file;
    EXPECT_EQ(reader.error().code, Code::storage);
    EXPECT_EQ(reader.error().where, file.string()) << damage;
  };
  const std::vector<fs::path> files = files_below(folder(1));
  ASSERT_EQ(files.size(), 4u); // manifest, tensors, states, resolved.yaml
  for (const fs::path& file : files) {
    const auto size = static_cast<std::int64_t>(fs::file_size(file));
    // Every byte of the small files, and a spread over the others, each with another bit.
    for (std::int64_t byte = 0; byte < size; byte += std::max<std::int64_t>(1, size / 200)) {
      flip_bit(file, byte, static_cast<int>(byte % 8));
      expect_named(file, "a flipped bit");
      flip_bit(file, byte, static_cast<int>(byte % 8));
    }
    ASSERT_TRUE(open_checkpoint(folder(1)).ok());
    for (const std::int64_t left : {std::int64_t{0}, size / 2, size - 1}) {
      fs::resize_file(file, static_cast<std::uintmax_t>(left));
      expect_named(file, "truncation");
      restore();
    }
    std::ofstream(file, std::ios::app) << "x";
    expect_named(file, "an appended byte");
    restore();
    fs::remove(file);
    expect_named(file, "removal");
    fs::create_symlink(pristine / fs::relative(file, folder(1)), file);
    expect_named(file, "a symbolic link");
    fs::remove(file);
    fs::create_directory(file);
    expect_named(file, "a folder in its place");
    restore();
  }
  EXPECT_FALSE(open_checkpoint(root / "absent").ok());
}

TEST_F(Store, RefusesADirectoryThatCannotBeWritten) {
  std::ofstream(root / "file") << "x";
  CheckpointStore::Settings settings;
  settings.directory = root / "file" / "checkpoints";
  const auto store = open_checkpoint_store(settings);
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.error().code, Code::storage);
  EXPECT_THAT(store.error().where, testing::HasSubstr("file"));
}

TEST_F(Store, WritesTheSameBytesForTheSameSnapshot) {
  CheckpointStore::Settings settings;
  settings.max_file_bytes = 4000;
  for (const char* name : {"a", "b"}) {
    settings.directory = root / name;
    auto store = open(settings);
    ASSERT_TRUE(store->save(snapshot_of(1)).ok());
    ASSERT_TRUE(store->wait().ok());
  }
  const auto files = files_below(root / "a");
  EXPECT_GE(files.size(), 5u);
  for (const fs::path& file : files) {
    std::ifstream one(file, std::ios::binary), two(root / "b" / fs::relative(file, root / "a"), std::ios::binary);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(one), {}),
              std::string(std::istreambuf_iterator<char>(two), {}))
        << file;
  }
}

TEST_F(Store, AFolderWithoutCheckpointsIsTold) {
  const auto latest = open_latest_checkpoint(root, {});
  ASSERT_FALSE(latest.ok());
  EXPECT_EQ(latest.error().render(), root.string() +
                                         ": there is no checkpoint in this folder: name a folder that holds one; a run "
                                         "without --resume makes one");
}

} // namespace
} // namespace conclave::checkpoint_test
