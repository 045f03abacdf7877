// Sweeps: what members a block makes, and what is refused.

#include "config/sweep.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/experiment.hpp"
#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using ::testing::ElementsAre;
using testing::FakeCatalog;
using testing::Folder;
using ::testing::HasSubstr;
using testing::minimal;

struct Loaded {
  std::optional<Experiment> experiment;
  std::string problems;
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const SweepMember& member : experiment->sweep) names.push_back(member.name);
    return names;
  }
};
Loaded loaded(const Folder& folder, const std::string& block, const std::string& member = {},
              const std::vector<std::string>& overrides = {}) {
  const std::string file = folder.write("x.yaml", minimal("seed: 5\nsweep: " + block + "\n"));
  FakeCatalog catalog;
  Diagnostics diagnostics;
  Loaded result{load_experiment(file, {overrides, member}, catalog, diagnostics), {}};
  result.problems = testing::without_folder(diagnostics.render(), folder);
  return result;
}

TEST(Sweep, GridTimesSeeds) {
  const Folder folder;
  const Loaded result = loaded(folder, "{grid: {optimizer.with.lr: [1e-3, 2e-3], train.batch: [8]}, seeds: 2}");
  ASSERT_TRUE(result.experiment) << result.problems;
  EXPECT_THAT(result.names(), ElementsAre("lr=1e-3,batch=8,seed=5", "lr=1e-3,batch=8,seed=6", "lr=2e-3,batch=8,seed=5",
                                          "lr=2e-3,batch=8,seed=6"));
}

TEST(Sweep, AMemberIsTheExperimentWithItsValuesWhereverTheyStand) {
  const Folder folder;
  const Loaded plain = loaded(folder, "{}", {}, {"sweep=null"});
  const Loaded member =
      loaded(folder, "{grid: {optimizer.with.lr: [2e-3]}, seeds: [9]}", "lr=2e-3,seed=9", {"train.steps=50"});
  ASSERT_TRUE(member.experiment) << member.problems;
  EXPECT_EQ(member.experiment->seed, 9u);
  EXPECT_EQ(member.experiment->train.steps, 50);
  EXPECT_EQ(member.experiment->settings.at("optimizer.with.lr").value, "0.002");
  EXPECT_TRUE(member.experiment->settings.at("optimizer.with.lr").origin.ends_with("x.yaml:10:36"));
  EXPECT_EQ(member.experiment->settings.count("sweep.seeds"), 0u) << "the block is no part of a member";
  EXPECT_EQ(plain.experiment->hash, loaded(folder, "{seeds: 3}").experiment->hash);
}

TEST(Sweep, ListAndNamedAblations) {
  const Folder folder;
  const Loaded result = loaded(folder,
                               "{list: [{train.batch: 4, optimizer.with.lr: 1e-3}, {train.batch: 16}], "
                               "ablations: {hot: {optimizer.with.lr: 1e-1, precision.compute: bf16}}}");
  ASSERT_TRUE(result.experiment) << result.problems;
  EXPECT_THAT(result.names(),
              ElementsAre("batch=4,lr=1e-3,base", "batch=4,lr=1e-3,hot", "batch=16,base", "batch=16,hot"));
  EXPECT_EQ(
      loaded(folder, "{list: [{train.batch: 4, optimizer.with.lr: 1e-3}], ablations: {hot: {optimizer.with.lr: 1e-1}}}",
             "batch=4,lr=1e-3,hot")
          .experiment->settings.at("optimizer.with.lr")
          .value,
      "0.1");
}

TEST(Sweep, NamesAreUniqueAndPlain) {
  const Folder folder;
  const Loaded result = loaded(folder, "{grid: {data.domains.web.share: [1], name: [x]}}");
  EXPECT_THAT(result.problems, HasSubstr("x.yaml:10:45: sweep.grid: 'name' cannot vary over a sweep"));
  const Loaded text =
      loaded(folder, "{list: [{data.length: {max: 64}}, {data.length: {max: 32}}, {data.cache: \"a b/c\"}]}");
  ASSERT_TRUE(text.experiment) << text.problems;
  EXPECT_THAT(text.names(), ElementsAre("length=other", "length=other-2", "cache=a-b-c"));
  const Loaded twice = loaded(folder, "{grid: {train.batch: [8], optimizer.with.lr: [1]}, list: [{train.batch: 4}]}");
  EXPECT_THAT(twice.problems, HasSubstr("train.batch varies in two parts of the sweep"));
}

TEST(Sweep, ASweepThatExplodesIsRefusedBeforeItIsMade) {
  const Folder folder;
  EXPECT_THAT(
      loaded(folder, "{grid: {train.batch: [1, 2, 3, 4, 5, 6, 7, 8, 9]}, seeds: 8}").problems,
      HasSubstr("x.yaml:10:8: sweep: 9 x 8 = 72 members are more than the limit of 64: vary less, or set sweep.limit"));
  EXPECT_EQ(loaded(folder, "{grid: {train.batch: [1, 2, 3, 4, 5, 6, 7, 8, 9]}, seeds: 8, limit: 72}").names().size(),
            72u);
  EXPECT_THAT(loaded(folder, "{grid: {train.batch: [1, 2, 3, 4, 5, 6, 7, 8, 9]}, seeds: 9999, limit: 10000}").problems,
              HasSubstr("9 x 9999 = 89991 members are more than the limit of 10000: vary less: no sweep has more"));
  EXPECT_THAT(loaded(folder, "{seeds: 10001}").problems, HasSubstr("expected a whole number of at most 10000"));
}

TEST(Sweep, WrongBlocksAreLocated) {
  const Folder folder;
  const auto problem = [&](const std::string& block) { return loaded(folder, block).problems; };
  EXPECT_THAT(problem("{gird: {a: [1]}}"),
              HasSubstr("x.yaml:10:9: sweep.gird: is not a part of a sweep: did you mean grid?"));
  EXPECT_THAT(problem("{grid: {train.batch: 8}}"), HasSubstr("sweep.grid.train.batch: expected a list of values"));
  EXPECT_THAT(problem("{seeds: [1, 1]}"), HasSubstr("1 stands there twice"));
  EXPECT_THAT(problem("{seeds: many}"), HasSubstr("write seeds: 3, or seeds: [1, 2, 3]"));
  EXPECT_THAT(problem("{ablations: {base: {train.batch: 2}}}"), HasSubstr("cannot name an ablation"));
  EXPECT_THAT(problem("{}"), HasSubstr("names nothing to vary"));
  EXPECT_THAT(problem("[1]"), HasSubstr("expected a map"));
  EXPECT_THAT(loaded(folder, "{seeds: 2}", "seed=4").problems,
              HasSubstr("has no member 'seed=4': did you mean seed=5?"));
}

} // namespace
} // namespace conclave
