// A plugin path full of broken libraries: each named with its file and reason, the good ones usable.

#include "plugin/registry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "conclave/scheduler.hpp"
#include "conclave/testkit.hpp"
#include "support/crash.hpp"

namespace conclave {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::filesystem::path faults = CONCLAVE_FAULT_PLUGINS;

PluginRegistry::Settings settings(std::vector<std::filesystem::path> path) {
  PluginRegistry::Settings s;
  s.path = std::move(path);
  s.self = CONCLAVE_PROBE_HOST;
  s.probe_seconds = 3;
  return s;
}

/// A folder with copies of some fault plugins.
void copy_into(const testkit::TemporaryDir& dir, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    std::filesystem::copy_file(faults / (name + ".so"), dir.path() / (name + ".so"));
}

TEST(Registry, QuarantinesEachFaultAndKeepsTheRest) {
  PluginRegistry registry(settings({faults}));
  registry.scan();
  const std::map<std::string, std::string> expected = {
      {"scheduler-wrong-fingerprint", "0123456789abcdef"},
      {"scheduler-looping-initialiser", "took longer than 3 s"},
      {"scheduler-crashing-initialiser", support::crashed},
      {"scheduler-exiting-initialiser", "ended the process without an answer"},
      {"scheduler-crashing-table", support::crashed},
      {"scheduler-throwing-table", "the table is upside down"},
      {"scheduler-null-entry", "entry returned null"},
      {"scheduler-no-entry", "does not export conclave_plugin_entry"},
      {"scheduler-no-note", "no Conclave fingerprint"},
      {"scheduler-duplicate-ids", "holds scheduler/twice twice"},
      {"scheduler-wrong-kind", "says filter, but the class is a scheduler"},
      {"scheduler-no-licence", "has no licence"},
      {"scheduler-no-summary", "has no summary"},
  };
  std::map<std::string, std::string> found;
  for (const PluginRow& row : registry.rows())
    if (row.state == "quarantined") found[row.file.stem().string()] = row.reason;
  for (const auto& [name, reason] : expected) EXPECT_THAT(found[name], HasSubstr(reason)) << name;
  EXPECT_EQ(found.size(), expected.size());
  EXPECT_THAT(registry.ids("scheduler"), ElementsAre("scheduler/crashing-call", "scheduler/good", "scheduler/nan",
                                                     "scheduler/throwing-constructor"));
  EXPECT_THAT(registry.ids("filter"), IsEmpty());

  const auto good = registry.find("scheduler/good");
  ASSERT_TRUE(good.ok()) << good.error().render();
  testkit::FakeHost host;
  const auto made = testkit::make<Scheduler>(**good, host, testkit::map({{"factor", 0.5}}));
  ASSERT_TRUE(made.ok()) << made.error().render();
  EXPECT_DOUBLE_EQ((*made)->learning_rate(0, {10, 2.0}), 1.0);
  EXPECT_EQ(registry.file_of("scheduler/good").filename(), "scheduler-good.so");
  EXPECT_EQ(registry.sha256_of("scheduler/good").size(), 64u);
  EXPECT_THAT(registry.description_json("scheduler/good"), HasSubstr("Of the peak learning rate."));
}

TEST(Registry, AnErrorOfFindNamesFileReasonAndNeighbours) {
  const testkit::TemporaryDir dir;
  copy_into(dir, {"scheduler-good", "scheduler-wrong-fingerprint"});
  PluginRegistry registry(settings({dir.path()}));
  registry.scan();
  const auto quarantined = registry.find("scheduler/wrong-fingerprint");
  ASSERT_FALSE(quarantined.ok());
  EXPECT_EQ(quarantined.error().code, Code::unsupported);
  EXPECT_THAT(quarantined.error().where, HasSubstr("scheduler-wrong-fingerprint.so"));
  EXPECT_THAT(quarantined.error().what, HasSubstr("does not fit this host"));
  const auto misspelt = registry.find("scheduler/godo");
  ASSERT_FALSE(misspelt.ok());
  EXPECT_EQ(misspelt.error().code, Code::invalid_argument);
  EXPECT_EQ(misspelt.error().fix, "did you mean scheduler/good? CONCLAVE_PLUGIN_PATH adds folders");
}

TEST(Registry, AnUnknownIdMayStandInALibraryThatCouldNotBeAsked) {
  const testkit::TemporaryDir dir;
  copy_into(dir, {"scheduler-good"});
  std::filesystem::copy_file(faults / "scheduler-wrong-fingerprint.so", dir.path() / "mine.so");
  PluginRegistry registry(settings({dir.path()}));
  registry.scan();
  const auto held = registry.find("scheduler/wrong-fingerprint");
  ASSERT_FALSE(held.ok());
  EXPECT_EQ(held.error().code, Code::unsupported);
  EXPECT_THAT(held.error().what, HasSubstr((dir.path() / "mine.so").string() + ": does not fit this host"));
  // Even where another id is near: nobody knows which of the two was meant.
  EXPECT_EQ(registry.find("scheduler/godo").error().code, Code::unsupported);
  EXPECT_EQ(registry.find("scheduler/godo").error().fix, "did you mean scheduler/good?");

  // A library whose name says what it holds may hold a second plugin.
  std::filesystem::rename(dir.path() / "mine.so", dir.path() / "scheduler-first.so");
  registry.scan();
  EXPECT_EQ(registry.find("scheduler/wrong-fingerprint").error().code, Code::unsupported);
  EXPECT_THAT(registry.find("scheduler/wrong-fingerprint").error().what, HasSubstr("scheduler-first.so"));
  EXPECT_EQ(registry.find("scheduler/godo").error().code, Code::invalid_argument);
}

TEST(Registry, SaysWhenAnEarlierHolderIsPassedOver) {
  const testkit::TemporaryDir dir;
  std::filesystem::copy_file(faults / "scheduler-wrong-fingerprint.so", dir.path() / "scheduler-good.so");
  PluginRegistry registry(settings({dir.path(), faults / "twin"}));
  registry.scan();
  ASSERT_TRUE(registry.find("scheduler/good").ok());
  EXPECT_THAT(registry.remark("scheduler/good"),
              HasSubstr("passes over " + (dir.path() / "scheduler-good.so").string()));
  EXPECT_THAT(registry.remark("scheduler/good"), HasSubstr("0123456789abcdef"));
  for (const PluginRow& row : registry.rows())
    EXPECT_EQ(row.state, row.file.parent_path() == dir.path() ? "quarantined" : "warning") << row.file;

  PluginRegistry other_way(settings({faults / "twin", dir.path()}));
  other_way.scan();
  EXPECT_EQ(other_way.remark("scheduler/good"), "");
}

TEST(Registry, QuarantinesATensorPluginWhoseNoteNamesNoTorch) {
  const testkit::TemporaryDir dir;
  std::filesystem::copy_file(faults / "kinds/optimizer-fault-no-torch.so", dir.path() / "mine.so");
  PluginRegistry registry(settings({dir.path()}));
  registry.scan();
  const auto found = registry.find("optimizer/deaf");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, Code::unsupported);
  EXPECT_EQ(found.error().where, (dir.path() / "mine.so").string());
  EXPECT_THAT(found.error().what, HasSubstr("TENSOR"));
}

TEST(Registry, KeepsNoVerdictOfASlowMachine) {
  const testkit::TemporaryDir cache;
  auto s = settings({faults / "slow"});
  s.cache = cache.path();
  s.probe_seconds = 0.2; // 1.2 s on the clock, of which the initialiser sleeps 3
  PluginRegistry late(s);
  late.scan();
  EXPECT_THAT(late.find("scheduler/sleeping-initialiser").error().what, HasSubstr("was not done in 1 s"));
  s.probe_seconds = 60;
  PluginRegistry patient(s);
  patient.scan();
  EXPECT_TRUE(patient.find("scheduler/sleeping-initialiser").ok());
}

TEST(Registry, TheFirstOfTwoEqualIdsWins) {
  const testkit::TemporaryDir dir;
  copy_into(dir, {"scheduler-good"});
  PluginRegistry registry(settings({faults / "twin", dir.path(), faults / "twin", "/no/such/folder"}));
  registry.scan();
  ASSERT_EQ(registry.rows().size(), 2u);
  EXPECT_EQ(registry.file_of("scheduler/good"), std::filesystem::canonical(faults / "twin" / "scheduler-good.so"));
  int shadowed = 0;
  for (const PluginRow& row : registry.rows())
    if (row.state == "shadowed") {
      ++shadowed;
      EXPECT_THAT(row.reason, HasSubstr("is taken by"));
      EXPECT_THAT(row.file.string(), HasSubstr(dir.path().filename().string()));
    } else {
      EXPECT_EQ(row.state, "warning");
      EXPECT_EQ(row.reason, registry.remark("scheduler/good"));
    }
  EXPECT_EQ(shadowed, 1);
  EXPECT_EQ(registry.find("scheduler/halving").error().fix,
            "of its kind there are scheduler/good; CONCLAVE_PLUGIN_PATH adds folders");
  EXPECT_THAT(registry.remark("scheduler/good"),
              HasSubstr("hides " + std::filesystem::canonical(dir.path() / "scheduler-good.so").string()));
}

TEST(Registry, AnswersFromTheCacheWithoutAChild) {
  const testkit::TemporaryDir dir, cache;
  copy_into(dir, {"scheduler-good", "scheduler-crashing-table"});
  auto s = settings({dir.path()});
  s.cache = cache.path() / "probe";
  {
    PluginRegistry first(s);
    first.scan();
  }
  s.self = "/no/such/host"; // a probe would fail now
  PluginRegistry second(s);
  second.scan();
  EXPECT_THAT(second.ids(""), ElementsAre("scheduler/good"));
  EXPECT_TRUE(second.find("scheduler/good").ok());
  EXPECT_THAT(second.find("scheduler/crashing-table").error().what, HasSubstr("--rescan"));

  s.rescan = true;
  PluginRegistry third(s);
  third.scan();
  EXPECT_THAT(third.ids(""), IsEmpty());
  EXPECT_THAT(third.find("scheduler/good").error().what, HasSubstr("could not be probed"));

  s.rescan = false; // a failure to probe was not kept
  PluginRegistry fourth(s);
  fourth.scan();
  EXPECT_THAT(fourth.ids(""), ElementsAre("scheduler/good"));
}

TEST(Registry, ADamagedCacheFileIsProbedAgain) {
  const testkit::TemporaryDir dir, cache;
  copy_into(dir, {"scheduler-good"});
  auto s = settings({dir.path()});
  s.cache = cache.path();
  {
    PluginRegistry first(s);
    first.scan();
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(cache.path())) {
    ++files;
    std::ofstream(entry.path()) << "{\"plugins\": [{\"id\": 7";
  }
  EXPECT_EQ(files, 1);
  PluginRegistry second(s);
  second.scan();
  EXPECT_THAT(second.ids(""), ElementsAre("scheduler/good"));
}

TEST(Registry, NothingOnThePathIsNoError) {
  PluginRegistry registry(settings({"/no/such/folder"}));
  registry.scan();
  EXPECT_THAT(registry.rows(), IsEmpty());
  EXPECT_THAT(registry.find("model/moe").error().fix, HasSubstr("CONCLAVE_PLUGIN_PATH"));
}

TEST(DefaultPluginPath, ReadsTheEnvironmentFirst) {
  const testkit::TemporaryDir prefix;
  std::filesystem::create_directories(prefix.path() / "plugins");
  const char* before = std::getenv("CONCLAVE_PLUGIN_PATH");
  const std::string saved = before ? before : "";
  ::setenv("CONCLAVE_PLUGIN_PATH", "/a::/b", 1);
  const auto path = default_plugin_path(prefix.path() / "bin/conclave");
  ::setenv("CONCLAVE_PLUGIN_PATH", ("/no/such/folder:" + prefix.path().string()).c_str(), 1);
  const auto missing = missing_plugin_folders();
  if (before) {
    ::setenv("CONCLAVE_PLUGIN_PATH", saved.c_str(), 1);
  } else {
    ::unsetenv("CONCLAVE_PLUGIN_PATH");
  }
  EXPECT_THAT(missing, ElementsAre("/no/such/folder"));
  ASSERT_GE(path.size(), 3u);
  EXPECT_EQ(path[0], "/a");
  EXPECT_EQ(path[1], "/b");
  EXPECT_EQ(path[2], prefix.path() / "plugins");
}

} // namespace
} // namespace conclave
