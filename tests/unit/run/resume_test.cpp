// Which changes of an experiment a resume accepts.

#include "run/resume.hpp"

#include <gmock/gmock.h>

namespace conclave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CheckpointMeta meta() {
  CheckpointMeta m;
  m.vocabulary = 100;
  m.plan_digest = "aaaaaaaaaaaaaaaa";
  m.plugins = {{"model/x", "1111"}};
  m.machine = "AVX2, 2 threads";
  m.settings["optimizer.with.lr"] = {"0.001", "a.yaml:3", Affects::numerics};
  m.settings["monitors.console.every"] = {"1", "a.yaml:9", Affects::io};
  return m;
}

TEST(Resume, MetaSurvivesJson) {
  const auto back = parse_checkpoint_meta(to_json(meta()));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->vocabulary, 100);
  EXPECT_EQ(back->settings.at("monitors.console.every").affects, Affects::io);
  EXPECT_EQ(back->settings.at("optimizer.with.lr").value, "0.001");
  EXPECT_EQ(back->plugins, meta().plugins);
  EXPECT_EQ(back->machine, meta().machine);
  EXPECT_FALSE(parse_checkpoint_meta("{").ok());
}

TEST(Resume, TheSameExperimentGoesOn) {
  const auto decision = compare_for_resume(meta(), meta(), false);
  ASSERT_TRUE(decision.ok());
  EXPECT_TRUE(decision->notes.empty());
}

TEST(Resume, NumericsAreRefusedUnlessAllowed) {
  auto now = meta();
  now.settings["optimizer.with.lr"].value = "0.002";
  const auto refused = compare_for_resume(meta(), now, false);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::invalid_argument);
  EXPECT_THAT(refused.error().what, HasSubstr("optimizer.with.lr: 0.001 -> 0.002"));
  const auto allowed = compare_for_resume(meta(), now, true);
  ASSERT_TRUE(allowed.ok());
  ASSERT_EQ(allowed->allowed.size(), 1u);
}

TEST(Resume, OutputChangesAreNoted) {
  auto now = meta();
  now.settings["monitors.console.every"].value = "10";
  const auto decision = compare_for_resume(meta(), now, false);
  ASSERT_TRUE(decision.ok());
  ASSERT_EQ(decision->notes.size(), 1u);
}

TEST(Resume, AnotherBuildOrMachineIsToldAndAccepted) {
  auto now = meta();
  now.plugins = {{"model/x", "2222"}, {"filter/new", "3333"}};
  now.machine = "AVX512, 2 threads";
  const auto decision = compare_for_resume(meta(), now, false);
  ASSERT_TRUE(decision.ok());
  EXPECT_THAT(decision->notes, ElementsAre(HasSubstr("model/x is another build (SHA-256 1111, now 2222)"),
                                           HasSubstr("with AVX2, 2 threads, this is AVX512, 2 threads")));
}

TEST(Resume, MetaKeepsTextThatIsNoUtf8Readable) {
  auto odd = meta();
  odd.settings["data.cache"] = {"/tmp/\xff", "", Affects::io};
  EXPECT_TRUE(parse_checkpoint_meta(to_json(odd)).ok());
}

TEST(Resume, ANewOptionThatAffectsNumericsCounts) {
  auto now = meta();
  now.settings["train.z_loss"] = {"0.1", "", Affects::numerics};
  EXPECT_THAT(compare_for_resume(meta(), now, false).error().what, HasSubstr("(absent) -> 0.1"));
}

TEST(Resume, AnotherVocabularyIsAlwaysRefused) {
  auto now = meta();
  now.vocabulary = 101;
  EXPECT_FALSE(compare_for_resume(meta(), now, true).ok());
}

TEST(Resume, AnotherDataOrderIsRefused) {
  auto now = meta();
  now.plan_digest = "bbbbbbbbbbbbbbbb";
  EXPECT_THAT(compare_for_resume(meta(), now, false).error().what, HasSubstr("order of its batches"));
  EXPECT_TRUE(compare_for_resume(meta(), now, true).ok());
}

} // namespace
} // namespace conclave
