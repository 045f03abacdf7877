// Checkpoints under kill -9, a full disk, a limit on file sizes, and a file system that turns read-only.

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "conclave/random.hpp"
#include "unit/checkpoint/fixture.hpp"
#include "unit/checkpoint/memory_peers.hpp"

namespace conclave::checkpoint_test {
namespace {

constexpr std::int64_t rows = 2000; ///< of the saver's snapshots

/// The saver of so many ranks in a process of its own; `last` is the newest step that it announced before it was killed.
std::int64_t save_until_killed(const fs::path& directory, std::int64_t first, int ranks,
                               std::chrono::microseconds delay) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  const std::string step = std::to_string(first), count = std::to_string(ranks);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execl(SAVER, SAVER, directory.c_str(), step.c_str(), count.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  // The clock starts with the first commit, so that start-up time does not matter.
  std::int64_t last = 0;
  if (::read(ends[0], &last, sizeof last) != sizeof last) throw std::runtime_error("the saver ended by itself");
  std::this_thread::sleep_for(delay);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the saver ended by itself";
  for (std::int64_t announced = 0; ::read(ends[0], &announced, sizeof announced) == sizeof announced;) last = announced;
  ::close(ends[0]);
  return last;
}

class Faults : public CheckpointTest {
 protected:
  void kill_at_any_moment(int ranks, std::uint64_t rounds);
};

void Faults::kill_at_any_moment(int ranks, std::uint64_t rounds) {
  const RandomStream random(2024, "kill");
  const fs::path directory = root / "checkpoints";
  std::int64_t first = 1;
  int leftovers = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const auto delay = std::chrono::microseconds(random.below(round, 60'000));
    const std::int64_t announced = save_until_killed(directory, first, ranks, delay);
    ASSERT_GE(announced, first);
    // A reader that changes nothing finds a good one beside whatever the kill has left ...
    const auto untouched = open_latest_checkpoint(directory, {});
    ASSERT_TRUE(untouched.ok()) << untouched.error().render();
    EXPECT_GE((*untouched)->step(), announced);
    // ... and a store that is opened cleans up; all that it then lists is whole.
    CheckpointStore::Settings settings;
    settings.warn = [&](const Error&) { ++leftovers; };
    const auto store = open(settings);
    const auto latest = store->open_latest([](const Error& error) { ADD_FAILURE() << error.render(); });
    ASSERT_TRUE(latest.ok()) << latest.error().render();
    EXPECT_GE((*latest)->step(), announced);
    expect_holds(**latest, (*latest)->step(), rows);
    for (const CheckpointEntry& entry : store->list()) EXPECT_TRUE(open_checkpoint(entry.path).ok()) << entry.path;
    EXPECT_EQ(static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), {})), store->list().size());
    first = (*latest)->step() - (round % 3 == 0 ? 1 : -1); // now and then over steps that are there already
    first = std::max<std::int64_t>(first, 1);
  }
  RecordProperty("interrupted_saves", leftovers);
  EXPECT_GT(leftovers, 0) << "no kill met a save: the delays are wrong";
}

TEST_F(Faults, KillAtAnyMomentLeavesAGoodCheckpoint) { kill_at_any_moment(1, 30); }

TEST_F(Faults, KillAtAnyMomentOfFourRanksLeavesAGoodCheckpoint) { kill_at_any_moment(4, 15); }

/// `store` has a good step 1; a save of `rows` rows must fail, name a path of its folder, and leave only step 1.
void expect_failed_save(CheckpointStore& store, const fs::path& directory, std::int64_t large) {
  ASSERT_TRUE(store.save(snapshot_of(2, large)).ok()); // asynchronous: the error comes with wait()
  const Status status = store.wait();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::storage);
  EXPECT_THAT(status.error().where, testing::StartsWith(directory.string()));
  EXPECT_FALSE(status.error().fix.empty());
  EXPECT_EQ(std::distance(fs::directory_iterator(directory), {}), 1);
  const auto latest = store.open_latest({});
  ASSERT_TRUE(latest.ok()) << latest.error().render();
  expect_holds(**latest, 1);
}

TEST_F(Faults, LimitOnFileSizesIsAnErrorThatLosesNothing) {
  const auto store = open();
  ASSERT_TRUE(store->save(snapshot_of(1)).ok());
  ASSERT_TRUE(store->wait().ok());
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small { 100'000, before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0); // SIGXFSZ would end the process if the writer did not block it
  expect_failed_save(*store, root / "checkpoints", rows);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(store->save(snapshot_of(2, rows)).ok());
  ASSERT_TRUE(store->wait().ok());
  expect_holds(**store->open_latest({}), 2, rows);
}

/// Three ranks of which each has a row of `small`, and rank 1 also, where told, a tensor of 512 kB.
Snapshot small_share(int rank, std::int64_t step, bool large) {
  Snapshot snapshot;
  snapshot.step = step;
  snapshot.tensors = {box("small", {3, 4}, {rank, 0}, at::full({1, 4}, static_cast<double>(step)))};
  if (rank == 1 && large) snapshot.tensors.push_back(whole("large", at::full({rows, 64}, 1.0)));
  return snapshot;
}

/// Between the two calls rank 1 has too much to save; every rank is told so, and what was there stays.
void expect_all_hear_of_it(
    const fs::path& directory, const testing::Matcher<std::string>& what,
    const std::function<void()>& begin_failing = [] {}, const std::function<void()>& end_failing = [] {}) {
  MemoryPeers peers(3);
  peers.run([&](int rank) {
    CheckpointStore::Settings settings;
    settings.directory = directory;
    settings.peers = peers.at(rank);
    const auto store = open_checkpoint_store(settings);
    ASSERT_TRUE(store.ok()) << store.error().render();
    ASSERT_TRUE((*store)->save(small_share(rank, 1, false)).ok());
    ASSERT_TRUE((*store)->wait().ok());
    (void)peers.at(rank)->gather("test/saved", {});
    if (rank == 0) begin_failing();
    (void)peers.at(rank)->broadcast("test/failing", {});
    ASSERT_TRUE((*store)->save(small_share(rank, 2, true)).ok());
    const Status failed = (*store)->wait();
    EXPECT_FALSE(failed.ok());
    if (!failed.ok()) {
      EXPECT_EQ(failed.error().code, Code::storage);
      EXPECT_THAT(failed.error().where, testing::HasSubstr("step-00000002/tensors-r00"));
      EXPECT_THAT(failed.error().what, what);
      EXPECT_FALSE(failed.error().fix.empty());
    }
    EXPECT_EQ((*store)->list().size(), 1u);
    (void)peers.at(rank)->gather("test/failed", {});
    if (rank == 0) {
      EXPECT_EQ(std::distance(fs::directory_iterator(directory), {}), 1);
      end_failing();
    }
    (void)peers.at(rank)->broadcast("test/good again", {});
    const auto kept = (*store)->open_latest({});
    ASSERT_TRUE(kept.ok()) << kept.error().render();
    EXPECT_EQ((*kept)->step(), 1);
    EXPECT_TRUE(at::equal(read_whole(**kept, "small"), at::full({3, 4}, 1.0)));
    ASSERT_TRUE((*store)->save(small_share(rank, 3, false)).ok());
    EXPECT_TRUE((*store)->wait().ok());
  });
  EXPECT_TRUE(at::equal(read_whole(**open_checkpoint(directory / "step-00000003"), "small"), at::full({3, 4}, 3.0)));
}

TEST_F(Faults, LimitOnFileSizesOfOneRankFailsTheSaveOfAll) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit small { 100'000, before.rlim_max };
  expect_all_hear_of_it(
      root / "checkpoints", testing::MatchesRegex("rank 1: [^(]*"),
      [&] { ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0); },
      [&] { ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0); });
}

/// A small file system in memory; needs the right to mount.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& path) : path_(path) {
    fs::create_directories(path_);
    mounted_ = ::mount("conclave-test", path_.c_str(), "tmpfs", 0, "size=400k") == 0;
    reason_ = mounted_ ? 0 : errno;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  [[nodiscard]] bool mounted() const { return mounted_; }
  [[nodiscard]] std::string reason() const { return std::generic_category().message(reason_); }
  [[nodiscard]] bool make_read_only() const {
    return ::mount(nullptr, path_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  fs::path path_;
  bool mounted_ = false;
  int reason_ = 0;
};

TEST_F(Faults, FullDiskIsAnErrorThatLosesNothing) {
  const SmallDisk disk(root / "checkpoints");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small tmpfs here: " << disk.reason();
  const auto store = open();
  ASSERT_TRUE(store->save(snapshot_of(1)).ok());
  ASSERT_TRUE(store->wait().ok());
  expect_failed_save(*store, root / "checkpoints", rows);
  ASSERT_TRUE(store->save(snapshot_of(3)).ok()); // there is room for a small one
  ASSERT_TRUE(store->wait().ok());
  expect_holds(**store->open_latest({}), 3);
}

TEST_F(Faults, FullDiskOfRanksFailsTheSaveOfAll) {
  const SmallDisk disk(root / "checkpoints");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small tmpfs here: " << disk.reason();
  // Rank 1 fills it, whether alone depends on who came first.
  expect_all_hear_of_it(root / "checkpoints", testing::MatchesRegex("rank [012]: .*[Nn]o space.*|rank 1: .*"));
}

TEST_F(Faults, ReadOnlyDiskIsNamedAndCheckpointsStayReadable) {
  const SmallDisk disk(root / "checkpoints");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a small tmpfs here: " << disk.reason();
  const auto store = open();
  ASSERT_TRUE(store->save(snapshot_of(1)).ok());
  ASSERT_TRUE(store->wait().ok());
  ASSERT_TRUE(disk.make_read_only());
  expect_failed_save(*store, root / "checkpoints", 64);
  CheckpointStore::Settings settings;
  settings.directory = root / "checkpoints";
  const auto refused = open_checkpoint_store(settings);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::storage);
}

} // namespace
} // namespace conclave::checkpoint_test
