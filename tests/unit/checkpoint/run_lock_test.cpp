// The lock of a run directory, between real processes.

#include "run/run_lock.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>

namespace conclave {
namespace {

namespace fs = std::filesystem;

class RunLock : public testing::Test {
 public:
  ~RunLock() override { fs::remove_all(root_); }

 protected:
  RunLock() {
    std::string pattern = (fs::temp_directory_path() / "conclave-lock-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    root_ = pattern;
  }
  fs::path root_;
};

/// A child that holds the lock until it is killed.
class Holder {
 public:
  explicit Holder(const fs::path& directory) {
    int ready[2];
    if (::pipe(ready) != 0) throw std::runtime_error("pipe");
    child_ = ::fork();
    if (child_ == 0) {
      const auto lock = RunDirectoryLock::acquire(directory);
      const char told = lock.ok() ? 'y' : 'n';
      (void)!::write(ready[1], &told, 1);
      for (;;) ::pause();
    }
    char told = 'n';
    (void)!::read(ready[0], &told, 1);
    ::close(ready[0]);
    ::close(ready[1]);
    holds_ = told == 'y';
  }
  ~Holder() { kill(); }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }
  [[nodiscard]] bool holds() const { return holds_; }
  [[nodiscard]] pid_t pid() const { return child_; }

 private:
  pid_t child_ = -1;
  bool holds_ = false;
};

TEST_F(RunLock, SecondRunIsRefusedAndNamesTheFirst) {
  Holder first(root_);
  ASSERT_TRUE(first.holds());
  const auto second = RunDirectoryLock::acquire(root_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::storage);
  EXPECT_THAT(second.error().what, testing::HasSubstr("process " + std::to_string(first.pid())));
  EXPECT_EQ(second.error().where, root_.string());
}

TEST_F(RunLock, KilledOwnerLeavesNothingThatBlocks) {
  {
    Holder first(root_);
    ASSERT_TRUE(first.holds());
  } // killed with SIGKILL
  const auto second = RunDirectoryLock::acquire(root_);
  ASSERT_TRUE(second.ok()) << second.error().render();
  std::string owner;
  std::getline(std::ifstream(root_ / ".lock"), owner);
  EXPECT_THAT(owner, testing::StartsWith("process " + std::to_string(::getpid()) + " on "));
}

TEST_F(RunLock, MovesAndIsGivenUp) {
  std::optional<RunDirectoryLock> held;
  {
    auto lock = RunDirectoryLock::acquire(root_ / "new" / "run");
    ASSERT_TRUE(lock.ok());
    held = std::move(lock).value();
  }
  EXPECT_FALSE(RunDirectoryLock::acquire(root_ / "new" / "run").ok());
  held.reset();
  EXPECT_TRUE(RunDirectoryLock::acquire(root_ / "new" / "run").ok());
}

TEST_F(RunLock, UnwritableFolderIsNamed) {
  std::ofstream(root_ / "file") << "x";
  const auto lock = RunDirectoryLock::acquire(root_ / "file");
  ASSERT_FALSE(lock.ok());
  EXPECT_EQ(lock.error().code, Code::storage);
  EXPECT_EQ(lock.error().where, (root_ / "file").string());
}

} // namespace
} // namespace conclave
