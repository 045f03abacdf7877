// Checkpoints of many ranks: one folder, one manifest, one outcome. Ranks are threads.

#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>
#include <sstream>

#include "checkpoint/flat_ranges.hpp"
#include "fixture.hpp"
#include "memory_peers.hpp"

namespace conclave::checkpoint_test {
namespace {

using Extents = std::vector<std::int64_t>;

class Ranks : public CheckpointTest {
 protected:
  /// `change` may alter a rank's settings before its store is opened; `work` gets the rank and its store.
  template <class Work>
  void with_stores(
      MemoryPeers& peers, Work work,
      const std::function<void(int, CheckpointStore::Settings&)>& change = [](int, CheckpointStore::Settings&) {}) {
    peers.run([&](int rank) {
      CheckpointStore::Settings settings;
      settings.directory = root / "checkpoints";
      settings.peers = peers.at(rank);
      change(rank, settings);
      auto store = open_checkpoint_store(std::move(settings));
      ASSERT_TRUE(store.ok()) << store.error().render();
      work(rank, **store);
    });
  }
  [[nodiscard]] std::vector<std::string> names_in(const fs::path& directory) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  /// The failed save of `step` left nothing, and step 1 as it was.
  void expect_only_step_1() const {
    EXPECT_THAT(names_in(root / "checkpoints"), testing::ElementsAre("step-00000001"));
    const auto kept = open_checkpoint(folder(1));
    ASSERT_TRUE(kept.ok()) << kept.error().render();
    EXPECT_TRUE(at::equal(read_whole(**kept, "w"), rows(0, 12)));
  }
  /// Rows of `w` [12, 3].
  static at::Tensor rows(std::int64_t begin, std::int64_t end) {
    return at::arange(begin * 3, end * 3, at::kFloat).view({end - begin, 3});
  }
  /// This rank's third, quarter or half of `w`; what only rank 0 may give is given by all, each its own.
  static Snapshot part_of(int rank, int ranks, std::int64_t step) {
    Snapshot snapshot;
    snapshot.step = step;
    const std::int64_t share = 12 / ranks;
    snapshot.tensors.push_back(box("w", {12, 3}, {rank * share, 0}, rows(rank * share, (rank + 1) * share)));
    if (rank == 1) snapshot.tensors.push_back(whole("of rank 1", at::full({2}, 7.0)));
    snapshot.states["host"]["rank"] = std::int64_t{rank};
    snapshot.states["plugin"]["array"] = StateArray{"U8", {1}, {static_cast<std::byte>(rank)}};
    snapshot.meta_json = R"({"rank":)" + std::to_string(rank) + "}";
    snapshot.files["resolved.yaml"] = "rank: " + std::to_string(rank) + "\n";
    return snapshot;
  }
  static void save_step_1(int rank, int ranks, CheckpointStore& store) {
    ASSERT_TRUE(store.save(part_of(rank, ranks, 1)).ok());
    const Status saved = store.wait();
    ASSERT_TRUE(saved.ok()) << saved.error().render();
  }
};

TEST_F(Ranks, WriteOneCheckpoint) {
  MemoryPeers peers(3);
  std::mutex mutex;
  std::vector<CheckpointEntry> committed;
  with_stores(
      peers,
      [&](int rank, CheckpointStore& store) {
        EXPECT_TRUE(store.list().empty());
        ASSERT_TRUE(store.save(part_of(rank, 3, 20)).ok());
        ASSERT_TRUE(store.wait().ok());
        const auto listed = store.list();
        ASSERT_EQ(listed.size(), 1u);
        EXPECT_EQ(listed[0].step, 20);
        EXPECT_EQ(listed[0].path, folder(20));
      },
      [&](int, CheckpointStore::Settings& settings) {
        settings.committed = [&](const CheckpointEntry& entry) {
          const std::lock_guard lock(mutex);
          committed.push_back(entry);
        };
      });
  EXPECT_THAT(names_in(root / "checkpoints"), testing::ElementsAre("step-00000020"));
  EXPECT_THAT(names_in(folder(20)),
              testing::ElementsAre("files", "manifest.json", "states.safetensors", "tensors-r000-00001.safetensors",
                                   "tensors-r001-00001.safetensors", "tensors-r002-00001.safetensors"));
  std::int64_t bytes = 0;
  for (const fs::path& file : files_below(folder(20))) bytes += static_cast<std::int64_t>(fs::file_size(file));
  ASSERT_EQ(committed.size(), 3u);
  for (const CheckpointEntry& entry : committed) {
    EXPECT_EQ(entry.step, 20);
    EXPECT_EQ(entry.path, folder(20));
    EXPECT_EQ(entry.bytes, bytes);
  }
  const auto reader = open_checkpoint(folder(20)); // by one rank: no layout is left in it
  ASSERT_TRUE(reader.ok()) << reader.error().render();
  EXPECT_THAT((*reader)->tensor_names(), testing::ElementsAre("of rank 1", "w"));
  EXPECT_TRUE(at::equal(read_whole(**reader, "w"), rows(0, 12)));
  EXPECT_TRUE(at::equal(read_whole(**reader, "of rank 1"), at::full({2}, 7.0)));
  EXPECT_EQ(std::get<std::int64_t>((*reader)->states().at("host").at("rank")), 0);
  EXPECT_EQ(std::get<StateArray>((*reader)->states().at("plugin").at("array")).data[0], std::byte{0});
  EXPECT_EQ((*reader)->meta_json(), R"({"rank":0})");
  EXPECT_EQ((*reader)->file("resolved.yaml").value(), "rank: 0\n");
}

TEST_F(Ranks, OneOfOneWritesWhatOneWithoutPeersDoes) {
  MemoryPeers peers(1);
  with_stores(peers, [&](int rank, CheckpointStore& store) { save_step_1(rank, 1, store); });
  CheckpointStore::Settings settings;
  settings.directory = root / "alone";
  const auto alone = open(settings);
  save_step_1(0, 1, *alone);
  const auto files = files_below(folder(1));
  EXPECT_EQ(files.size(), 4u);
  for (const fs::path& file : files) {
    std::ifstream one(file), two(root / "alone" / "step-00000001" / fs::relative(file, folder(1)));
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(one), {}),
              std::string(std::istreambuf_iterator<char>(two), {}))
        << file;
  }
}

TEST_F(Ranks, SplitTheirSharesIntoFilesOfTheirOwn) {
  MemoryPeers peers(2);
  with_stores(
      peers, [](int rank, CheckpointStore& store) { save_step_1(rank, 2, store); },
      [](int, CheckpointStore::Settings& settings) { settings.max_file_bytes = 1; });
  EXPECT_TRUE(fs::exists(folder(1) / "tensors-r001-00002.safetensors"));
  EXPECT_FALSE(fs::exists(folder(1) / "tensors-r000-00002.safetensors"));
  EXPECT_TRUE(at::equal(read_whole(**open_checkpoint(folder(1)), "w"), rows(0, 12)));
}

TEST_F(Ranks, RefuseSharesThatDoNotMakeUpTheWhole) {
  struct Case {
    const char* what;
    std::function<void(int rank, Snapshot&)> spoil;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {"two hold the same rows",
       [](int rank, Snapshot& s) {
         if (rank == 2) s.tensors[0] = box("w", {12, 3}, {4, 0}, rows(4, 8));
       },
       {"'w'", "overlap", "tensors-r001-00001.safetensors", "tensors-r002-00001.safetensors"}},
      {"nobody holds some rows",
       [](int rank, Snapshot& s) {
         if (rank == 1) s.tensors.erase(s.tensors.begin());
       },
       {"'w'", "do not cover"}},
      {"another type",
       [](int rank, Snapshot& s) {
         if (rank == 1) s.tensors[0].value = s.tensors[0].value.to(at::kDouble);
       },
       {"rank 1", "'w'", "type or shape"}},
      {"another shape",
       [](int rank, Snapshot& s) {
         if (rank == 2) s.tensors[0].global_shape = {13, 3};
       },
       {"rank 2", "'w'", "type or shape"}},
      {"another step",
       [](int rank, Snapshot& s) {
         if (rank == 2) s.step = 3;
       },
       {"rank 2 saves step 3, rank 0 step 2"}},
      {"a share that cannot be copied",
       [](int rank, Snapshot& s) {
         if (rank == 1) s.tensors[0].value = at::Tensor();
       },
       {"rank 1: tensor 'w' of the snapshot has no value"}},
      {"rank 0's share cannot be copied",
       [](int rank, Snapshot& s) {
         if (rank == 0) s.files["../x"] = "";
       },
       {"rank 0: the extra file name"}},
      {"several fail",
       [](int rank, Snapshot& s) {
         if (rank > 0) s.tensors[0].value = at::Tensor();
       },
       {"rank 1: tensor 'w'", "(also rank 2)"}}};
  MemoryPeers peers(3);
  with_stores(peers, [&](int rank, CheckpointStore& store) {
    save_step_1(rank, 3, store);
    for (const Case& wrong : cases) {
      Snapshot snapshot = part_of(rank, 3, 2);
      wrong.spoil(rank, snapshot);
      const Status begun = store.save(std::move(snapshot));
      EXPECT_TRUE(begun.ok()) << wrong.what << ": known to one rank only";
      const Status failed = store.wait();
      ASSERT_FALSE(failed.ok()) << wrong.what;
      EXPECT_EQ(failed.error().code, Code::internal) << wrong.what;
      for (const std::string& word : wrong.words)
        EXPECT_THAT(failed.error().render(), testing::HasSubstr(word)) << wrong.what;
      EXPECT_EQ(store.list().size(), 1u) << wrong.what;
    }
  });
  expect_only_step_1();
  // Not asynchronous: its own error at once, on all.
  with_stores(
      peers,
      [&](int rank, CheckpointStore& store) {
        Snapshot snapshot = part_of(rank, 3, 2);
        if (rank == 2) snapshot.tensors.clear();
        EXPECT_FALSE(store.save(std::move(snapshot)).ok());
        EXPECT_TRUE(store.save(part_of(rank, 3, 2)).ok());
      },
      [](int, CheckpointStore::Settings& settings) { settings.asynchronous = false; });
  EXPECT_TRUE(open_checkpoint(folder(2)).ok());
}

TEST_F(Ranks, Rank0DecidesBeforeTheCommit) {
  MemoryPeers peers(3);
  std::atomic<int> asked = 0, told = 0;
  with_stores(
      peers,
      [&](int rank, CheckpointStore& store) {
        save_step_1(rank, 3, store);
        for (const std::int64_t step : {1, 2}) { // over one that is there, and a new one
          ASSERT_TRUE(store.save(part_of(rank, 3, step)).ok());
          const Status failed = store.wait();
          ASSERT_FALSE(failed.ok());
          EXPECT_THAT(failed.error().render(), testing::HasSubstr(step == 1 ? "metrics.jsonl: the rows" : "thrown"));
        }
      },
      [&](int rank, CheckpointStore::Settings& settings) {
        settings.before_commit = [&, rank](std::int64_t step) -> Status {
          EXPECT_EQ(rank, 0);
          // Every byte of every rank is there, and no manifest.
          EXPECT_THAT(names_in(folder(step)),
                      testing::ElementsAre("files", "states.safetensors", "tensors-r000-00001.safetensors",
                                           "tensors-r001-00001.safetensors", "tensors-r002-00001.safetensors"));
          if (const int call = asked++; call == 1) return storage_error("the rows are not there", {}, "metrics.jsonl");
          if (asked == 3) throw std::runtime_error("thrown");
          return {};
        };
        settings.committed = [&](const CheckpointEntry&) { ++told; };
      });
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(told, 3); // of step 1, once a rank
  expect_only_step_1();
}

TEST_F(Ranks, RetireAndSetAsideTogether) {
  class KeepTwo final : public CheckpointPolicy {
   public:
    [[nodiscard]] bool due(std::int64_t, std::int64_t) const override { return true; }
    [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const override {
      ++asked;
      std::vector<std::int64_t> steps;
      for (std::size_t i = 0; i + 2 < committed.size(); ++i) steps.push_back(committed[i].step);
      return steps;
    }
    mutable std::atomic<int> asked = 0;
  };
  const auto policy = std::make_shared<KeepTwo>();
  const auto steps = [](const std::vector<CheckpointEntry>& entries) {
    std::vector<std::int64_t> found;
    for (const CheckpointEntry& entry : entries) found.push_back(entry.step);
    return found;
  };
  MemoryPeers peers(4);
  with_stores(
      peers,
      [&](int rank, CheckpointStore& store) {
        for (const std::int64_t step : {1, 2, 3}) ASSERT_TRUE(store.save(part_of(rank, 4, step)).ok());
        ASSERT_TRUE(store.wait().ok());
        EXPECT_THAT(steps(store.list()), testing::ElementsAre(2, 3));
        const auto aside = store.set_aside_after(2);
        ASSERT_TRUE(aside.ok()) << aside.error().render();
        ASSERT_EQ(aside->size(), 1u);
        EXPECT_EQ(aside->front().path, root / "checkpoints" / "superseded-1-step-00000003");
        EXPECT_GT(aside->front().bytes, 0);
        EXPECT_THAT(steps(store.list()), testing::ElementsAre(2));
        const auto reader = store.open_latest({});
        ASSERT_TRUE(reader.ok()) << reader.error().render();
        EXPECT_EQ((*reader)->step(), 2);
      },
      [&](int, CheckpointStore::Settings& settings) { settings.policy = policy; });
  EXPECT_EQ(policy->asked, 3) << "rank 0 asks, once a save";
  EXPECT_THAT(names_in(root / "checkpoints"), testing::ElementsAre("step-00000002", "superseded-1-step-00000003"));
}

TEST_F(Ranks, Rank0TidiesUpAndAllSeeIt) {
  MemoryPeers peers(3);
  with_stores(peers, [](int rank, CheckpointStore& store) { save_step_1(rank, 3, store); });
  fs::create_directory(root / "checkpoints" / ".tmp-step-00000002");
  std::ofstream(root / "checkpoints" / ".probe-1") << "x";
  std::atomic<int> notes = 0;
  with_stores(
      peers, [](int, CheckpointStore& store) { EXPECT_EQ(store.list().size(), 1u); },
      [&](int, CheckpointStore::Settings& settings) { settings.warn = [&](const Error&) { ++notes; }; });
  EXPECT_EQ(notes, 1);
  expect_only_step_1();
}

// ---- what one rank meets ----

TEST_F(Ranks, NeedOneFileSystem) {
  MemoryPeers peers(3);
  peers.run([&](int rank) {
    CheckpointStore::Settings settings;
    settings.directory = root / (rank == 2 ? "elsewhere" : "checkpoints");
    settings.peers = peers.at(rank);
    settings.shown_within = std::chrono::milliseconds(0);
    const auto store = open_checkpoint_store(std::move(settings));
    ASSERT_FALSE(store.ok());
    EXPECT_EQ(store.error().code, Code::storage);
    EXPECT_THAT(store.error().render(),
                testing::AllOf(testing::StartsWith((root / "elsewhere").string()), testing::HasSubstr("rank 2"),
                               testing::HasSubstr("file system that all ranks share")));
  });
  EXPECT_THAT(names_in(root / "checkpoints"), testing::IsEmpty());
}

TEST_F(Ranks, SayWhoLostTheFileSystem) {
  MemoryPeers peers(3);
  fs::create_directory(root / "checkpoints");
  fs::create_directory(root / "elsewhere");
  fs::create_directory_symlink("checkpoints", root / "mount");
  with_stores(
      peers,
      [&](int rank, CheckpointStore& store) {
        save_step_1(rank, 3, store);
        if (rank == 1) {
          fs::remove(root / "mount");
          fs::create_directory_symlink("elsewhere", root / "mount");
        }
        ASSERT_TRUE(store.save(part_of(rank, 3, 2)).ok());
        const Status failed = store.wait();
        ASSERT_FALSE(failed.ok());
        EXPECT_THAT(failed.error().render(),
                    testing::AllOf(testing::HasSubstr("mount/.tmp-step-00000002"), testing::HasSubstr("rank 1: "),
                                   testing::HasSubstr("file system that all ranks share")));
      },
      [&](int rank, CheckpointStore::Settings& settings) {
        if (rank == 1) settings.directory = root / "mount";
        settings.shown_within = std::chrono::milliseconds(0);
      });
  expect_only_step_1();
}

TEST_F(Ranks, ALostRankFailsTheSaveOfTheOthers) {
  MemoryPeers peers(3);
  with_stores(peers, [&](int rank, CheckpointStore& store) {
    save_step_1(rank, 3, store);
    if (rank == 2) return peers.lose(rank); // between two steps
    ASSERT_TRUE(store.save(part_of(rank, 3, 2)).ok());
    const Status failed = store.wait();
    ASSERT_FALSE(failed.ok());
    EXPECT_EQ(failed.error().code, Code::peer_lost);
    EXPECT_THAT(failed.error().what, testing::HasSubstr("rank 2 was lost"));
  });
  expect_only_step_1();
}

// ---- opening ----

TEST_F(Ranks, NameDamageWhoeverMeetsIt) {
  MemoryPeers peers(3);
  with_stores(peers, [](int rank, CheckpointStore& store) { save_step_1(rank, 3, store); });
  for (const fs::path& file : files_below(folder(1))) {
    flip_bit(file, static_cast<std::int64_t>(fs::file_size(file)) - 1, 3);
    peers.run([&](int rank) {
      const auto reader = open_checkpoint(folder(1), peers.at(rank));
      ASSERT_FALSE(reader.ok()) << file;
      EXPECT_EQ(reader.error().code, Code::storage);
      EXPECT_EQ(reader.error().where, file.string());
      EXPECT_THAT(reader.error().what, testing::StartsWith("rank "));
    });
    flip_bit(file, static_cast<std::int64_t>(fs::file_size(file)) - 1, 3);
  }
  peers.run([&](int rank) {
    const auto reader = open_checkpoint(folder(1), peers.at(rank));
    ASSERT_TRUE(reader.ok()) << reader.error().render();
    EXPECT_TRUE(at::equal(read_whole(**reader, "w"), rows(0, 12)));
    EXPECT_EQ(std::get<std::int64_t>((*reader)->states().at("host").at("rank")), 0);
  });
}

TEST_F(Ranks, OpenTheSameCheckpoint) {
  MemoryPeers peers(3);
  with_stores(peers, [](int rank, CheckpointStore& store) {
    for (const std::int64_t step : {1, 2, 3}) ASSERT_TRUE(store.save(part_of(rank, 3, step)).ok());
  });
  // By name these are the 4th and the 5th file: each is verified by another rank, and by no third.
  const fs::path damaged = folder(3) / "tensors-r001-00001.safetensors";
  flip_bit(damaged, static_cast<std::int64_t>(fs::file_size(damaged)) - 1, 0);
  fs::resize_file(folder(2) / "tensors-r002-00001.safetensors", 100);
  peers.run([&](int rank) {
    std::vector<std::string> named;
    const auto latest = open_latest_checkpoint(
        root / "checkpoints", [&](const Error& error) { named.push_back(error.where); }, peers.at(rank));
    ASSERT_TRUE(latest.ok()) << latest.error().render();
    EXPECT_EQ((*latest)->step(), 1);
    EXPECT_THAT(named, testing::ElementsAre(damaged.string(), (folder(2) / "tensors-r002-00001.safetensors").string()));
    EXPECT_EQ(open_latest_checkpoint(root / "absent", {}, peers.at(rank)).error().code, Code::storage);
  });
  // Copies that differ are no shared checkpoint.
  fs::copy(folder(1), root / "copy", fs::copy_options::recursive);
  with_stores(peers, [](int rank, CheckpointStore& store) {
    Snapshot other = part_of(rank, 3, 1);
    other.tensors[0].value = other.tensors[0].value.add(1);
    ASSERT_TRUE(store.save(std::move(other)).ok());
  });
  peers.run([&](int rank) {
    const auto reader = open_checkpoint(rank == 2 ? root / "copy" : folder(1), peers.at(rank));
    ASSERT_FALSE(reader.ok());
    EXPECT_THAT(reader.error().render(), testing::HasSubstr("rank 2 finds another checkpoint there than rank 0"));
  });
}

TEST_F(Ranks, ALostRankIsNoReasonToGoBack) {
  MemoryPeers peers(2);
  with_stores(peers, [](int rank, CheckpointStore& store) {
    for (const std::int64_t step : {1, 2}) ASSERT_TRUE(store.save(part_of(rank, 2, step)).ok());
  });
  peers.lose(1);
  const auto latest = open_latest_checkpoint(
      root / "checkpoints", [](const Error& error) { ADD_FAILURE() << error.render(); }, peers.at(0));
  ASSERT_FALSE(latest.ok());
  EXPECT_EQ(latest.error().code, Code::peer_lost);
}

/// Bytes that this thread has read so far, without those read to find that out; nothing where the kernel does not count.
std::optional<std::int64_t> bytes_read() {
  static thread_local std::int64_t by_us = 0;
  std::ifstream file("/proc/thread-self/io");
  std::stringstream text;
  text << file.rdbuf();
  std::string label;
  std::int64_t count = 0;
  if (!(text >> label >> count) || label != "rchar:") return std::nullopt;
  count -= by_us;
  by_us += static_cast<std::int64_t>(text.str().size());
  return count;
}

TEST_F(Ranks, EachVerifiesItsPartOnly) {
  if (!bytes_read()) GTEST_SKIP() << "the kernel does not count what a thread reads";
  constexpr std::int64_t share = 1 << 20;
  MemoryPeers peers(4);
  with_stores(peers, [](int rank, CheckpointStore& store) {
    Snapshot snapshot;
    snapshot.step = 1;
    snapshot.tensors = {box("w", {4 * share}, {rank * share}, at::zeros({share}, at::kByte))};
    ASSERT_TRUE(store.save(std::move(snapshot)).ok());
  });
  peers.run([&](int rank) {
    const std::int64_t before = *bytes_read();
    ASSERT_TRUE(open_checkpoint(folder(1), peers.at(rank)).ok());
    const std::int64_t read = *bytes_read() - before;
    EXPECT_GE(read, share);
    EXPECT_LT(read, share + share / 4); // with manifest and headers
  });
}

TEST_F(Ranks, ReadOnlyTheBytesTheyNeed) {
  if (!bytes_read()) GTEST_SKIP() << "the kernel does not count what a thread reads";
  const at::Tensor values = at::rand({24, 16});
  MemoryPeers peers(3); // rows in thirds
  with_stores(peers, [&](int rank, CheckpointStore& store) {
    Snapshot snapshot;
    snapshot.step = 1;
    snapshot.tensors = {box("w", {24, 16}, {rank * 8, 0}, values.narrow(0, rank * 8, 8))};
    ASSERT_TRUE(store.save(std::move(snapshot)).ok());
  });
  const auto reader = open_checkpoint(folder(1));
  ASSERT_TRUE(reader.ok()) << reader.error().render();
  const auto expect_reads = [&](const Extents& offset, const Extents& size) {
    const at::Tensor out = at::empty(size);
    const std::int64_t before = *bytes_read();
    ASSERT_TRUE((*reader)->read("w", offset, out).ok());
    EXPECT_EQ(*bytes_read() - before, out.numel() * 4);
    EXPECT_TRUE(at::equal(out, values.narrow(0, offset[0], size[0]).narrow(1, offset[1], size[1])));
  };
  expect_reads({0, 0}, {12, 16}); // halves: all of one file, half of the next
  expect_reads({0, 4}, {24, 4});  // a quarter of the columns, of all files
  expect_reads({7, 15}, {2, 1});
  // The flat range of an optimizer shard, through its boxes.
  ParamSpec spec;
  spec.name = "w";
  spec.shape = {24, 16};
  spec.pieces.push_back({"w", {24, 16}, {{0, 0}, {24, 16}}, {{0, 0}, {24, 16}}});
  const at::Tensor range = at::zeros({101});
  const auto shards = shards_of_range(spec, 77, range);
  ASSERT_TRUE(shards.ok()) << shards.error().render();
  const std::int64_t before = *bytes_read();
  for (const TensorShard& shard : *shards) ASSERT_TRUE((*reader)->read(shard.name, shard.offset, shard.value).ok());
  EXPECT_EQ(*bytes_read() - before, 101 * 4);
  EXPECT_TRUE(at::equal(range, values.view(-1).slice(0, 77, 77 + 101)));
}

// ---- any layout to any other ----

/// What a rank holds of one parameter: elements [begin, end) of a local tensor.
struct Held {
  ParamSpec spec;
  std::int64_t begin = 0, end = 0;
};

/// A weight [6, 8] of which each rank holds rows or columns, and two fused experts [E, 2 * 3, 4], each split further by
/// flat range as optimizer shards are.
struct Layout {
  const char* name;
  int row_parts, column_parts, expert_parts, shards;
  [[nodiscard]] int ranks() const { return std::max(row_parts * column_parts, expert_parts) * shards; }
};

constexpr std::int64_t experts = 4;

std::int64_t local_elements(const ParamSpec& spec) {
  std::int64_t count = 1;
  for (const std::int64_t size : spec.shape) count *= size;
  return count;
}

std::vector<Held> held_by(const Layout& layout, int rank) {
  std::vector<Held> all;
  const int shard = rank % layout.shards, part = rank / layout.shards;
  const auto add = [&](ParamSpec spec) {
    const std::int64_t count = local_elements(spec);
    all.push_back({std::move(spec), count * shard / layout.shards, count * (shard + 1) / layout.shards});
  };
  if (part < layout.row_parts * layout.column_parts) {
    const std::int64_t rows = 6 / layout.row_parts, columns = 8 / layout.column_parts;
    const std::int64_t row = part / layout.column_parts * rows, column = part % layout.column_parts * columns;
    ParamSpec spec;
    spec.name = "dense";
    spec.shape = {rows + 1, columns}; // a padding row at the end, as in a padded vocabulary
    spec.pieces.push_back({"dense", {6, 8}, {{row, column}, {rows, columns}}, {{0, 0}, {rows, columns}}});
    add(std::move(spec));
  }
  if (part < layout.expert_parts) {
    const std::int64_t mine = experts / layout.expert_parts;
    ParamSpec spec;
    spec.name = "experts";
    spec.shape = {mine, 6, 4};
    for (std::int64_t e = 0; e < mine; ++e)
      for (std::int64_t p = 0; p < 2; ++p)
        spec.pieces.push_back({"experts." + std::to_string(part * mine + e) + (p == 0 ? ".gate" : ".up"),
                               {3, 4},
                               {{0, 0}, {3, 4}},
                               {{e, p * 3, 0}, {1, 3, 4}}});
    add(std::move(spec));
  }
  return all;
}

/// The value of an element: its global place, so that a mix-up shows. 0 where there is padding.
at::Tensor local_values(const ParamSpec& spec) {
  const at::Tensor local = at::zeros(spec.shape);
  for (const ParamPiece& piece : spec.pieces) {
    at::Tensor whole =
        at::arange(1, piece.global_shape[0] * piece.global_shape[1] + 1, at::kFloat).view(piece.global_shape);
    if (piece.name != "dense") whole = whole.add(1000.0 * (piece.name[8] - '0') + (piece.name.back() == 'p' ? 100 : 0));
    at::Tensor target = local;
    for (std::size_t axis = 0; axis < spec.shape.size(); ++axis)
      target = target.narrow(static_cast<std::int64_t>(axis), piece.local.offset[axis], piece.local.size[axis]);
    for (std::int64_t axis = 0; axis < 2; ++axis)
      whole = whole.narrow(axis, piece.global.offset[static_cast<std::size_t>(axis)],
                           piece.global.size[static_cast<std::size_t>(axis)]);
    target.copy_(whole.reshape(target.sizes()));
  }
  return local.view(-1);
}

TEST_F(Ranks, ReadUnderAnyLayoutWhatAnyOtherWrote) {
  const std::vector<Layout> layouts = {{"one rank", 1, 1, 1, 1},     {"optimizer shards", 1, 1, 1, 3},
                                       {"rows", 2, 1, 2, 1},         {"columns, shards", 1, 2, 1, 2},
                                       {"experts", 1, 1, 4, 1},      {"a grid, pairs of experts", 2, 2, 2, 1},
                                       {"rows in three", 3, 1, 1, 1}};
  for (const Layout& written : layouts) {
    MemoryPeers writers(written.ranks());
    with_stores(
        writers,
        [&](int rank, CheckpointStore& store) {
          Snapshot snapshot;
          snapshot.step = 1;
          for (const Held& held : held_by(written, rank)) {
            const at::Tensor values = local_values(held.spec).slice(0, held.begin, held.end);
            auto shards = shards_of_range(held.spec, held.begin, values);
            ASSERT_TRUE(shards.ok()) << shards.error().render();
            for (TensorShard& shard : *shards) snapshot.tensors.push_back(std::move(shard));
          }
          ASSERT_TRUE(store.save(std::move(snapshot)).ok());
          const Status saved = store.wait();
          ASSERT_TRUE(saved.ok()) << written.name << ": " << saved.error().render();
        },
        [&](int, CheckpointStore::Settings& settings) { settings.directory = root / written.name; });
    for (const Layout& read : layouts) {
      MemoryPeers readers(read.ranks());
      readers.run([&](int rank) {
        const auto reader = open_checkpoint(root / written.name / "step-00000001", readers.at(rank));
        ASSERT_TRUE(reader.ok()) << reader.error().render();
        for (const Held& held : held_by(read, rank)) {
          const at::Tensor values = at::zeros({held.end - held.begin});
          const auto shards = shards_of_range(held.spec, held.begin, values);
          ASSERT_TRUE(shards.ok()) << shards.error().render();
          for (const TensorShard& shard : *shards) {
            const Status status = (*reader)->read(shard.name, shard.offset, shard.value);
            ASSERT_TRUE(status.ok()) << status.error().render();
          }
          EXPECT_TRUE(at::equal(values, local_values(held.spec).slice(0, held.begin, held.end)))
              << written.name << " to " << read.name << ", rank " << rank << ", " << held.spec.name;
        }
      });
    }
  }
}

} // namespace
} // namespace conclave::checkpoint_test
