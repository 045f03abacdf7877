// What a plugin gets from the host in a run.

#include "run/host_services.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <stdexcept>

namespace conclave {
namespace {

namespace fs = std::filesystem;

PluginBlock block(const std::string& id, const std::string& key) {
  PluginBlock made;
  made.id = id;
  made.key = key;
  return made;
}

class HostServicesTest : public testing::Test {
 public:
  ~HostServicesTest() override { fs::remove_all(root_); }

 protected:
  HostServicesTest() {
    std::string pattern = (fs::temp_directory_path() / "conclave-host-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    root_ = pattern;
  }
  [[nodiscard]] HostServices::Settings settings(Phase phase) const {
    HostServices::Settings s;
    s.seed = 7;
    s.phase = phase;
    s.scratch = root_ / "scratch";
    s.cache = root_ / "cache";
    s.worker_threads = 3;
    return s;
  }
  fs::path root_;
};

TEST_F(HostServicesTest, TwoInstancesOfOnePluginHaveStreamsAndFoldersOfTheirOwn) {
  HostServices host(settings(Phase::prepare));
  HostContext& web = host.context(block("source/html", "data.domains.web.source"));
  HostContext& papers = host.context(block("source/html", "data.domains.papers.source"));
  EXPECT_EQ(web.instance_name(), "data.domains.web.source");
  EXPECT_NE(web.rng("order").uniform(0), papers.rng("order").uniform(0));
  EXPECT_EQ(web.rng("order").uniform(0),
            host.context(block("source/html", "data.domains.web.source")).rng("order").uniform(0));
  EXPECT_NE(web.scratch_dir(), papers.scratch_dir());
  EXPECT_EQ(web.cache_dir(), papers.cache_dir());
  EXPECT_TRUE(fs::is_directory(web.cache_dir()));
}

TEST_F(HostServicesTest, ScratchGoesWithTheHostAndLeavesOthersAlone) {
  std::string mine;
  {
    HostServices other(settings(Phase::prepare));
    const std::string others = other.context(block("filter/x", "data.filters.x")).scratch_dir();
    {
      HostServices host(settings(Phase::prepare));
      mine = host.context(block("filter/x", "data.filters.x")).scratch_dir();
      EXPECT_NE(mine, others);
      std::ofstream(fs::path(mine) / "file") << "x";
      EXPECT_TRUE(fs::exists(fs::path(mine) / "file"));
    }
    EXPECT_FALSE(fs::exists(mine));
    EXPECT_TRUE(fs::exists(others));
  }
  EXPECT_FALSE(fs::exists(root_ / "scratch"));
}

TEST_F(HostServicesTest, TheCheckPhaseTouchesNothing) {
  HostServices host(settings(Phase::check));
  HostContext& context = host.context(block("filter/x", "data.filters.x"));
  EXPECT_EQ(context.scratch_dir(), "");
  EXPECT_EQ(context.cache_dir(), "");
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(HostServicesTest, MetricsCountInTheTrainPhaseOnly) {
  HostServices host(settings(Phase::prepare));
  HostContext& context = host.context(block("optimizer/x", "optimizer"));
  context.metric("early", "", 1, Reduction::none);
  host.enter(Phase::train);
  context.metric("seen", "tokens", 2, Reduction::sum);
  const auto metrics = host.metrics().take();
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_EQ(metrics[0].name, "seen");
  EXPECT_TRUE(host.metrics().take().empty());
}

TEST_F(HostServicesTest, ParallelForCoversEachIndexOnceAndHandsExceptionsOn) {
  HostServices host(settings(Phase::prepare));
  HostContext& context = host.context(block("filter/x", "data.filters.x"));
  std::vector<std::atomic<int>> seen(1000);
  context.parallel_for(1000, 10, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
  });
  for (const auto& count : seen) EXPECT_EQ(count, 1);
  EXPECT_THROW(context.parallel_for(100, 1,
                                    [](std::int64_t begin, std::int64_t) {
                                      if (begin > 0) throw std::runtime_error("piece");
                                    }),
               std::runtime_error);
  context.parallel_for(0, 1, [](std::int64_t, std::int64_t) { FAIL() << "nothing to do"; });
}

} // namespace
} // namespace conclave
