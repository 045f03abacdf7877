// Rank resolution from each launcher's variables, and the arithmetic of layouts.

#include "launch/ranks.hpp"

#include <gmock/gmock.h>

#include <map>

namespace conclave {
namespace {

using ::testing::HasSubstr;

Result<RankInfo> resolve(const std::map<std::string, std::string>& environment) {
  return resolve_ranks([&environment](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(Ranks, NoLauncherIsOneRank) {
  const auto info = resolve({});
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->world_size, 1);
  EXPECT_EQ(info->launcher, "single");
}

TEST(Ranks, TorchrunWinsOverSlurm) {
  const auto info = resolve({{"RANK", "3"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"LOCAL_WORLD_SIZE", "2"},
                             {"TORCHELASTIC_RUN_ID", "x"},
                             {"SLURM_STEP_ID", "0"},
                             {"SLURM_PROCID", "5"}});
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->launcher, "torchrun");
  EXPECT_EQ(info->rank, 3);
  EXPECT_EQ(info->local_world_size, 2);
}

TEST(Ranks, AnSbatchShellIsNoStep) {
  const auto info = resolve({{"SLURM_JOB_ID", "77"}, {"SLURM_NTASKS", "16"}});
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->world_size, 1);
}

TEST(Ranks, OpenMpi) {
  const auto info = resolve({{"OMPI_COMM_WORLD_RANK", "1"},
                             {"OMPI_COMM_WORLD_SIZE", "4"},
                             {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                             {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}});
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->launcher, "mpirun");
}

TEST(Ranks, AHalfSetEnvironmentNamesWhatIsMissing) {
  const auto info = resolve({{"RANK", "0"}, {"TORCHELASTIC_RUN_ID", "x"}});
  ASSERT_FALSE(info.ok());
  EXPECT_EQ(info.error().code, Code::unsupported);
  EXPECT_THAT(info.error().what, HasSubstr("WORLD_SIZE"));
}

TEST(Ranks, ARankOutsideTheWorldIsRefused) {
  EXPECT_FALSE(resolve({{"OMPI_COMM_WORLD_RANK", "4"},
                        {"OMPI_COMM_WORLD_SIZE", "4"},
                        {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                        {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"}})
                   .ok());
  EXPECT_FALSE(resolve({{"OMPI_COMM_WORLD_RANK", "zero"}}).ok());
}

TEST(Layout, DataTakesWhatIsLeft) {
  EXPECT_EQ(resolve_data_ranks({.tensor = 2, .pipeline = 2, .expert = 4}, 16, 16).value(), 4);
  EXPECT_EQ(resolve_data_ranks({}, 0, 0).value(), 1);
}

TEST(Layout, AnImpossibleOneShowsTheArithmetic) {
  const auto uneven = resolve_data_ranks({.tensor = 3, .pipeline = 2, .expert = 1}, 16, 0);
  ASSERT_FALSE(uneven.ok());
  EXPECT_THAT(uneven.error().what, HasSubstr("tensor 3 x pipeline 2 = 6 does not divide 16"));
  const auto too_many = resolve_data_ranks({.tensor = 2, .pipeline = 2, .expert = 1, .data = 2}, 4, 0);
  ASSERT_FALSE(too_many.ok());
  EXPECT_THAT(too_many.error().what, HasSubstr("= 8 ranks"));
  EXPECT_FALSE(resolve_data_ranks({.tensor = 1, .pipeline = 1, .expert = 3}, 3, 16).ok());
}

} // namespace
} // namespace conclave
