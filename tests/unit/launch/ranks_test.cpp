// Rank resolution from each launcher's variables, and the arithmetic of layouts.

#include "launch/ranks.hpp"

#include <gmock/gmock.h>

#include <array>
#include <map>
#include <set>

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

TEST(Ranks, TheSupervisorWinsOverWhatStartedIt) {
  const auto info = resolve({{"CONCLAVE_RANK", "1"},
                             {"CONCLAVE_WORLD_SIZE", "2"},
                             {"CONCLAVE_LOCAL_RANK", "1"},
                             {"CONCLAVE_LOCAL_WORLD_SIZE", "2"},
                             {"RANK", "3"},
                             {"TORCHELASTIC_RUN_ID", "x"},
                             {"SLURM_STEP_ID", "0"},
                             {"SLURM_PROCID", "5"}});
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->launcher, "conclave");
  EXPECT_EQ(info->rank, 1);
  EXPECT_EQ(info->world_size, 2);
}

TEST(Ranks, SlurmSaysHowManyTasksANodeHas) {
  const auto here = [](const std::string& tasks, const std::string& node) {
    const auto info = resolve({{"SLURM_STEP_ID", "0"},
                               {"SLURM_PROCID", "5"},
                               {"SLURM_STEP_NUM_TASKS", "16"},
                               {"SLURM_LOCALID", "1"},
                               {"SLURM_STEP_TASKS_PER_NODE", tasks},
                               {"SLURM_NODEID", node}});
    return info.ok() ? info->local_world_size : -1;
  };
  EXPECT_EQ(here("16", "0"), 16);
  EXPECT_EQ(here("4(x2),3,5", "0"), 4);
  EXPECT_EQ(here("4(x2),3,5", "1"), 4);
  EXPECT_EQ(here("4(x2),3,5", "2"), 3);
  EXPECT_EQ(here("4(x2),3,5", "3"), 5);
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

std::array<int, mesh_dim_count> sizes_of(const Mesh& mesh) {
  std::array<int, mesh_dim_count> sizes{};
  for (std::size_t i = 0; i < mesh_dim_count; ++i) sizes[i] = mesh.size(static_cast<MeshDim>(i));
  return sizes;
}

Result<TaskInfo> task_of(const std::string& text, const std::map<std::string, std::string>& environment) {
  return resolve_task(text, [&environment](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

void expect_task(const Result<TaskInfo>& task, int index, int count) {
  ASSERT_TRUE(task.ok()) << task.error().render();
  EXPECT_EQ(task->index, index);
  EXPECT_EQ(task->count, count);
}

TEST(Tasks, GivenOrByTheLauncher) {
  expect_task(task_of("2/8", {{"JOB_COMPLETION_INDEX", "1"}}), 2, 8);
  expect_task(task_of("auto", {{"JOB_COMPLETION_INDEX", "3"}, {"CONCLAVE_TASKS", "4"}}), 3, 4);
  expect_task(
      task_of("auto",
              {{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "6"}, {"SLURM_LOCALID", "1"}}),
      5, 6);
  expect_task(task_of("auto", {{"OMPI_COMM_WORLD_RANK", "1"},
                               {"OMPI_COMM_WORLD_SIZE", "2"},
                               {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                               {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}}),
              1, 2);
}

TEST(Tasks, OfASlurmArrayCountFromItsFirstOne) {
  std::map<std::string, std::string> array = {{"SLURM_ARRAY_TASK_ID", "9"},
                                              {"SLURM_ARRAY_TASK_COUNT", "4"},
                                              {"SLURM_ARRAY_TASK_MIN", "5"},
                                              {"SLURM_ARRAY_TASK_STEP", "2"}};
  expect_task(task_of("auto", array), 2, 4);
  // Three ranks in the step of each array task.
  array.insert({{"SLURM_STEP_ID", "0"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "3"}, {"SLURM_LOCALID", "1"}});
  expect_task(task_of("auto", array), 7, 12);
}

TEST(Tasks, WhatIsNoTaskIsRefused) {
  for (const char* text : {"8/8", "-1/8", "0/0"}) {
    const auto task = task_of(text, {});
    ASSERT_FALSE(task.ok()) << text;
    EXPECT_THAT(task.error().what, HasSubstr("there is no task"));
  }
  for (const char* text : {"", "3", "1/", "/8", "1/8x", "one/8"}) {
    const auto task = task_of(text, {});
    ASSERT_FALSE(task.ok()) << text;
    EXPECT_THAT(task.error().what, HasSubstr("is no task"));
  }
  EXPECT_THAT(task_of("auto", {}).error().what, HasSubstr("nothing in the environment"));
  EXPECT_THAT(task_of("auto", {{"JOB_COMPLETION_INDEX", "3"}}).error().what, HasSubstr("CONCLAVE_TASKS"));
}

TEST(ResolveMesh, DataTakesWhatIsLeft) {
  const auto mesh = resolve_mesh({.tensor = 2, .pipeline = 2, .expert = 4}, 16, 0);
  ASSERT_TRUE(mesh.ok());
  EXPECT_EQ(sizes_of(*mesh), (std::array<int, mesh_dim_count>{2, 4, 1, 2, 2, 4}));
  EXPECT_EQ(mesh->world_size(), 16);
}

TEST(ResolveMesh, WithoutAWorldItIsTheSmallestThatFolds) {
  EXPECT_EQ(resolve_mesh({}, 0, 0)->world_size(), 1);
  EXPECT_EQ(resolve_mesh({.tensor = 2, .pipeline = 2, .expert = 4}, 0, 0)->size(MeshDim::data), 2);
  EXPECT_EQ(resolve_mesh({.tensor = 4, .expert = 2}, 0, 0)->size(MeshDim::data), 1);
  EXPECT_EQ(resolve_mesh({.tensor = 4, .expert = 6}, 0, 0)->size(MeshDim::data), 3);
}

TEST(ResolveMesh, EveryRankHasAPlaceOfItsOwnInBothViews) {
  std::set<std::array<int, 3>> dense, experts;
  for (int rank = 0; rank < 24; ++rank) {
    const auto mesh = resolve_mesh({.tensor = 2, .pipeline = 2, .expert = 3}, 24, rank);
    ASSERT_TRUE(mesh.ok());
    dense.insert({mesh->index(MeshDim::pipeline), mesh->index(MeshDim::data), mesh->index(MeshDim::tensor)});
    experts.insert({mesh->index(MeshDim::pipeline), mesh->index(MeshDim::expert_data), mesh->index(MeshDim::expert)});
  }
  EXPECT_EQ(dense.size(), 24u);
  EXPECT_EQ(experts.size(), 24u);
  const auto mesh = resolve_mesh({.tensor = 2, .pipeline = 2, .expert = 3}, 24, 17); // 1 * 12 + 5
  EXPECT_EQ(mesh->index(MeshDim::pipeline), 1);
  EXPECT_EQ(mesh->index(MeshDim::data), 2);
  EXPECT_EQ(mesh->index(MeshDim::tensor), 1);
  EXPECT_EQ(mesh->index(MeshDim::expert_data), 1);
  EXPECT_EQ(mesh->index(MeshDim::expert), 2);
}

TEST(RanksOver, AreThoseThatDifferInTheNamedDimensionsOnly) {
  // pipeline 2 x data 3 x tensor 2; experts 3 over them.
  const Mesh mesh = *resolve_mesh({.tensor = 2, .pipeline = 2, .expert = 3}, 12, 9);
  const auto over = [&mesh](std::initializer_list<MeshDim> dims) {
    return ranks_over(mesh, std::vector<MeshDim>(dims));
  };
  using Ranks = std::vector<int>;
  EXPECT_EQ(over({}), (Ranks{9}));
  EXPECT_EQ(over({MeshDim::tensor}), (Ranks{8, 9}));
  EXPECT_EQ(over({MeshDim::data}), (Ranks{7, 9, 11}));
  EXPECT_EQ(over({MeshDim::data, MeshDim::tensor}), (Ranks{6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(over({MeshDim::expert}), (Ranks{9, 10, 11}));
  EXPECT_EQ(over({MeshDim::expert_data}), (Ranks{6, 9}));
  EXPECT_EQ(over({MeshDim::pipeline}), (Ranks{3, 9}));
  EXPECT_EQ(over({MeshDim::pipeline, MeshDim::expert}), (Ranks{3, 4, 5, 9, 10, 11}));
}

TEST(RankList, JoinsNeighbours) {
  EXPECT_EQ(rank_list({5}), "rank 5");
  EXPECT_EQ(rank_list({0, 1, 2, 5}), "ranks 0-2, 5");
  EXPECT_EQ(rank_list({1, 2, 7, 8, 9}), "ranks 1, 2, 7-9");
  EXPECT_EQ(seconds_text(std::chrono::milliseconds(20000)), "20 s");
  EXPECT_EQ(seconds_text(std::chrono::milliseconds(1050)), "1.05 s");
}

TEST(ResolveMesh, AnImpossibleOneShowsTheArithmetic) {
  const auto uneven = resolve_mesh({.tensor = 3, .pipeline = 2}, 16, 0);
  ASSERT_FALSE(uneven.ok());
  EXPECT_EQ(uneven.error().code, Code::unsupported);
  EXPECT_THAT(uneven.error().what, HasSubstr("tensor 3 x pipeline 2 = 6 does not divide 16"));
  const auto too_many = resolve_mesh({.tensor = 2, .pipeline = 2, .data = 2}, 4, 0);
  ASSERT_FALSE(too_many.ok());
  EXPECT_THAT(too_many.error().what, HasSubstr("= 8 ranks"));
  const auto folding = resolve_mesh({.tensor = 2, .expert = 4, .data = 3}, 0, 0);
  ASSERT_FALSE(folding.ok());
  EXPECT_EQ(folding.error().code, Code::invalid_argument);
  EXPECT_THAT(folding.error().what, HasSubstr("expert 4 does not divide data 3 x tensor 2 = 6"));
  const auto world = resolve_mesh({.expert = 3}, 4, 0);
  ASSERT_FALSE(world.ok());
  EXPECT_EQ(world.error().code, Code::unsupported);
  EXPECT_THAT(world.error().what, HasSubstr("expert 3 does not divide data 4"));
  EXPECT_FALSE(resolve_mesh({.tensor = 1024, .pipeline = 1024, .data = 4096}, 0, 0).ok());
}

} // namespace
} // namespace conclave
