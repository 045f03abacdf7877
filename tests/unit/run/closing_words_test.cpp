// The commands at a run's end are what a shell needs to repeat them.

#include "run/closing_words.hpp"

#include <gmock/gmock.h>

#include <array>
#include <cstdio>

namespace conclave {
namespace {

using ::testing::ElementsAre;

/// What a shell makes of one word.
std::string through_shell(const std::string& word) {
  std::string said;
  std::FILE* pipe = popen(("printf %s " + word).c_str(), "r");
  std::array<char, 256> buffer{};
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) said.append(buffer.data(), n);
  pclose(pipe);
  return said;
}

TEST(ShellWord, AShellReadsItBack) {
  for (const char* text :
       {"plain/path-1.yaml", "", "two words", "it's", "$HOME `x` \"y\" \\", "a;b&c|d>e*f?g[h]{i}~", "x=[1, 2]"})
    EXPECT_EQ(through_shell(shell_word(text)), text);
  EXPECT_EQ(shell_word("runs/a-1.b"), "runs/a-1.b");
}

TEST(ClosingWords, AStoppedRunGoesOnWithTheSameOverridesAndDevice) {
  ClosingFacts facts;
  facts.program = "/opt/conclave";
  facts.experiment = "my experiments/a.yaml";
  facts.overrides = {"train.steps=40", "data.filters=[]"};
  facts.device = "cpu";
  facts.run_directory = "runs/a";
  EXPECT_THAT(closing_words(facts), ElementsAre("/opt/conclave run 'my experiments/a.yaml' --set train.steps=40 --set "
                                                "'data.filters=[]' --device cpu --run-dir runs/a --resume"));
  facts.device = "auto";
  facts.overrides.clear();
  EXPECT_THAT(closing_words(facts), ElementsAre("/opt/conclave run 'my experiments/a.yaml' --run-dir runs/a --resume"));
  facts.member = "lr=1e-3,seed=2";
  EXPECT_THAT(
      closing_words(facts),
      ElementsAre("/opt/conclave run 'my experiments/a.yaml' --member lr=1e-3,seed=2 --run-dir runs/a --resume"));
  facts.finished = true;
  EXPECT_THAT(closing_words(facts), ElementsAre("/opt/conclave config show runs/a/resolved.yaml"));
}

TEST(ClosingWords, AFinishedRunProposesOnlyWhatWorks) {
  ClosingFacts facts;
  facts.program = "conclave";
  facts.experiment = "a.yaml";
  facts.run_directory = "runs/a";
  facts.finished = true;
  EXPECT_THAT(closing_words(facts), ElementsAre("conclave config show a.yaml"));
  facts.exports = facts.tensorboard = true;
  EXPECT_THAT(closing_words(facts), ElementsAre("conclave export runs/a --to hf runs/a/hf",
                                                "tensorboard --logdir runs/a", "conclave config show a.yaml"));
}

} // namespace
} // namespace conclave
