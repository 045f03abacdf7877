// weights, curriculum, fill_in_middle: bound as written, resolved to what runs the same, and every mistake told in place.

#include <gtest/gtest.h>

#include "config/experiment.hpp"
#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using testing::FakeCatalog;
using testing::Folder;

// Of two domains, sequences of 64 tokens, 200 steps.
constexpr const char* mixture = R"(conclave: 1
data:
  domains:
    web:  {source: {use: source/jsonl, with: {paths: [a.jsonl]}}}
    code: {source: {use: source/jsonl, with: {paths: [b.jsonl]}}}
  tokenizer: {use: tokenizer/sentencepiece}
  length: {max: 64}
  curriculum:
    - {from: 0, shares: {web: 3, code: 0}, length: 16}
    - {from: 10%, length: 32}
    - {from: 150, shares: {web: 1, code: 2.5}}
  weights: {rule: unimax, passes: 2}
  fill_in_middle: {rate: 10%, spm: 50%, prefix: <|fim_begin|>, suffix: <|fim_hole|>, middle: <|fim_end|>, domains: [code]}
model: {use: model/moe}
optimizer: {use: optimizer/adamw}
scheduler: {use: scheduler/cosine}
train: {steps: 200, batch: 8}
)";

struct Mixed {
  std::optional<Experiment> experiment;
  std::string problems;
};

Mixed mixed(const std::string& text, const std::vector<std::string>& overrides = {}) {
  static const Folder folder;
  FakeCatalog catalog;
  Diagnostics diagnostics;
  Mixed loaded;
  loaded.experiment = load_experiment(folder.write("x.yaml", text), {overrides}, catalog, diagnostics);
  loaded.problems = testing::without_folder(diagnostics.render(), folder);
  return loaded;
}

TEST(Mixing, BindsAsWritten) {
  const Mixed loaded = mixed(mixture);
  ASSERT_TRUE(loaded.experiment) << loaded.problems;
  EXPECT_EQ(loaded.problems, "");
  const DataSection& data = loaded.experiment->data;
  ASSERT_EQ(data.curriculum.size(), 3u);
  EXPECT_EQ(data.curriculum[0].shares, (std::map<std::string, double>{{"code", 0}, {"web", 3}}));
  EXPECT_EQ(data.curriculum[0].length->value, 16);
  EXPECT_EQ(data.curriculum[1].from.resolve(200), 20);
  EXPECT_TRUE(data.curriculum[1].shares.empty());
  EXPECT_FALSE(data.curriculum[2].length);
  EXPECT_EQ(data.weights.rule, MixtureRule::unimax);
  EXPECT_EQ(data.weights.passes, 2);
  EXPECT_EQ(data.fill_in_middle.suffix, "<|fim_hole|>");
  EXPECT_DOUBLE_EQ(data.fill_in_middle.spm, 0.5);
  EXPECT_EQ(loaded.experiment->settings.at("data.curriculum").affects, Affects::numerics);
}

TEST(Mixing, TheResolvedFormRunsTheSame) {
  for (const char* packing : {"concat", "best_fit"}) {
    const std::vector<std::string> overrides = {"data.curriculum=[{from: 5%, shares: {web: 1, code: 0.25}}]",
                                                std::string("data.batching.packing=") + packing};
    const Mixed first = mixed(mixture, overrides);
    ASSERT_TRUE(first.experiment) << first.problems;
    const Mixed second = mixed(first.experiment->resolved_yaml);
    ASSERT_TRUE(second.experiment) << second.problems << first.experiment->resolved_yaml;
    EXPECT_EQ(second.problems, "");
    EXPECT_EQ(second.experiment->hash, first.experiment->hash);
  }
}

struct Mistake {
  const char* name;
  std::vector<std::string> overrides;
  const char* problems;
};

class MixingMistakes : public ::testing::TestWithParam<Mistake> {};

TEST_P(MixingMistakes, AreToldInPlace) {
  EXPECT_EQ(mixed(mixture, GetParam().overrides).problems, GetParam().problems);
}

INSTANTIATE_TEST_SUITE_P(
    All, MixingMistakes,
    ::testing::Values(
        Mistake{"order",
                {"data.curriculum=[{from: 50%}, {from: 99}]"},
                "--set #1: data.curriculum[1].from: begins at step 99, not behind the stage before it: write the "
                "stages in their order\n"},
        Mistake{"from",
                {"data.curriculum=[{length: 32}]"},
                "--set #1: data.curriculum[0].from: is required and missing: add it (steps or share): First step of "
                "the stage: a number, or a share of train.steps. It ends where the next one begins.\n"},
        Mistake{"late",
                {"data.curriculum=[{from: 200}]"},
                "--set #1: warning: data.curriculum[0].from: is at step 200, when the run is over: lower it, or remove "
                "the stage\n"},
        Mistake{"unknown_domain",
                {"data.curriculum=[{from: 0, shares: {web: 1, coed: 1}}]"},
                "--set #1: data.curriculum[0].shares: there is no domain named coed: did you mean code?\n"
                "--set #1: data.curriculum[0].shares: does not say the share of code: name every domain; a share of 0 "
                "leaves one out\n"},
        Mistake{"no_share",
                {"data.curriculum=[{from: 0, shares: {web: 0, code: 0}}]"},
                "--set #1: data.curriculum[0].shares: gives no share above 0 to any domain: raise one\n"},
        Mistake{"divisor",
                {"data.curriculum=[{from: 0, length: 48}]"},
                "--set #1: data.curriculum[0].length: 48 does not divide data.length.max = 64: a sequence is cut into "
                "equal parts: write a divisor\n"},
        Mistake{"longer",
                {"data.curriculum=[{from: 0, length: 65}]", "data.batching.mode=bucket"},
                "--set #1: data.curriculum[0].length: 65 is above data.length.max = 64: lower it\n"},
        Mistake{"packed_for_one_length",
                {"data.curriculum=[{from: 0, length: 32}]", "data.batching.packing=best_fit"},
                "--set #1: data.curriculum[0].length: whole documents are packed for one length, data.length.max = 64: "
                "leave it out, or write batching: {packing: concat}\n"},
        Mistake{"packed_buckets",
                {"data.curriculum=[]", "data.batching={mode: bucket, packing: best_fit}"},
                "--set #2: warning: data.batching.packing: has no effect with mode bucket, where a sequence is one "
                "document: remove it, or write mode: pack\n"},
        Mistake{"idle_share",
                {"data.domains.web.share=2"},
                "--set #1: warning: data.domains.web.share: has no effect, since data.weights.rule computes the "
                "shares: remove it\n"},
        Mistake{"rearranged_domain",
                {"data.fill_in_middle.domains=[cod]"},
                "--set #1: data.fill_in_middle.domains: there is no domain named cod: did you mean code?\n"},
        Mistake{"mark",
                {"data.fill_in_middle={rate: 0.5, prefix: <p>, suffix: <p>, middle: \"\"}"},
                "--set #1: data.fill_in_middle.suffix: is the same token as prefix: name another one\n"
                "--set #1: data.fill_in_middle.middle: is needed where documents are rearranged: name a token of the "
                "tokenizer\n"}),
    [](const auto& param_info) { return param_info.param.name; });

} // namespace
} // namespace conclave
