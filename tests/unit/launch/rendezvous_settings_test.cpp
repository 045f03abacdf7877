// Where ranks meet, from each launcher's variables.

#include <gmock/gmock.h>

#include <map>

#include "launch/rendezvous.hpp"

namespace conclave {
namespace {

using ::testing::HasSubstr;
using Environment = std::map<std::string, std::string>;

Result<RendezvousSettings> resolve(const std::string& launcher, RankInfo ranks, const Environment& environment) {
  ranks.launcher = launcher;
  return resolve_rendezvous(ranks, [&environment](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

constexpr auto rank_of = [](int rank, int world, int local_world) {
  return RankInfo{rank, world, rank % local_world, local_world, ""};
};

TEST(RendezvousSettings, UnderTorchrunTheAgentHosts) {
  const Environment environment{{"MASTER_ADDR", "node1"},
                                {"MASTER_PORT", "29400"},
                                {"TORCHELASTIC_RUN_ID", "run"},
                                {"TORCHELASTIC_RESTART_COUNT", "2"},
                                {"TORCHELASTIC_USE_AGENT_STORE", "True"}};
  const auto settings = resolve("torchrun", rank_of(0, 4, 2), environment);
  ASSERT_TRUE(settings.ok());
  EXPECT_FALSE(settings->host_store);
  EXPECT_TRUE(settings->agent_store);
  EXPECT_EQ(settings->address.text(), "node1:29400");
  EXPECT_EQ(settings->id, "run.2"); // a restart meets in a place of its own
  Environment without = environment;
  without["TORCHELASTIC_USE_AGENT_STORE"] = "False";
  EXPECT_TRUE(resolve("torchrun", rank_of(0, 4, 2), without)->host_store);
  EXPECT_FALSE(resolve("torchrun", rank_of(1, 4, 2), without)->host_store);
  without.erase("MASTER_PORT");
  const auto missing = resolve("torchrun", rank_of(0, 4, 2), without);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Code::unsupported);
  EXPECT_THAT(missing.error().what, HasSubstr("MASTER_PORT"));
}

TEST(RendezvousSettings, UnderSrunTheFirstHostOfTheStep) {
  Environment environment{{"SLURM_JOB_ID", "77"}, {"SLURM_STEP_ID", "3"}, {"SLURM_STEP_NODELIST", "gpu[07-09,12],x1"}};
  const auto settings = resolve("srun", rank_of(5, 8, 2), environment);
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->address.host, "gpu07");
  EXPECT_EQ(settings->id, "77.3");
  EXPECT_GE(settings->address.port, 20000);
  EXPECT_LT(settings->address.port, 32000);
  EXPECT_EQ(resolve("srun", rank_of(0, 8, 2), environment)->address.port, settings->address.port);
  EXPECT_TRUE(resolve("srun", rank_of(0, 8, 2), environment)->host_store);
  const auto first = [&](const char* list) {
    environment["SLURM_STEP_NODELIST"] = list;
    return resolve("srun", rank_of(0, 8, 2), environment)->address.host;
  };
  EXPECT_EQ(first("login1,gpu[1-2]"), "login1");
  EXPECT_EQ(first("n[3,5]-ib"), "n3-ib");
  EXPECT_EQ(first("alone"), "alone");
  environment["SLURM_RESTART_COUNT"] = "1";
  EXPECT_EQ(resolve("srun", rank_of(0, 8, 2), environment)->id, "77.3.1");
  environment["MASTER_ADDR"] = "theirs";
  EXPECT_EQ(resolve("srun", rank_of(0, 8, 2), environment)->address.host, "theirs");
  environment["CONCLAVE_MASTER_ADDR"] = "ours";
  environment["MASTER_PORT"] = "1234";
  EXPECT_EQ(resolve("srun", rank_of(0, 8, 2), environment)->address.text(), "ours:1234");
}

TEST(RendezvousSettings, OneMachineNeedsNoAddress) {
  const auto settings = resolve("srun", rank_of(1, 2, 2), {{"SLURM_JOB_ID", "7"}, {"SLURM_STEP_ID", "0"}});
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->address.host, "127.0.0.1");
  EXPECT_EQ(resolve("mpirun", rank_of(1, 2, 2), {{"PMIX_NAMESPACE", "a"}})->address.host, "127.0.0.1");
}

TEST(RendezvousSettings, MpirunOverMachinesNeedsAnAddress) {
  const auto settings = resolve("mpirun", rank_of(1, 4, 2), {{"PMIX_NAMESPACE", "a"}});
  ASSERT_FALSE(settings.ok());
  EXPECT_THAT(settings.error().fix, HasSubstr("-x MASTER_ADDR"));
  EXPECT_EQ(resolve("mpirun", rank_of(1, 4, 2), {{"PMIX_NAMESPACE", "a"}, {"MASTER_ADDR", "m"}})->address.host, "m");
  EXPECT_FALSE(resolve("mpirun", rank_of(1, 2, 2), {}).ok());
}

TEST(RendezvousSettings, TheSupervisorHosts) {
  const Environment environment{
      {"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "4321"}, {"CONCLAVE_RENDEZVOUS_ID", "9-9"}};
  const auto settings = resolve("conclave", rank_of(0, 2, 2), environment);
  ASSERT_TRUE(settings.ok());
  EXPECT_FALSE(settings->host_store);
  EXPECT_FALSE(settings->agent_store);
  EXPECT_EQ(settings->id, "9-9");
  EXPECT_FALSE(resolve("conclave", rank_of(0, 2, 2), {}).ok());
}

TEST(RendezvousSettings, NumbersAreChecked) {
  EXPECT_EQ(
      resolve("mpirun", rank_of(0, 2, 2), {{"PMIX_NAMESPACE", "a"}, {"CONCLAVE_RENDEZVOUS_TIMEOUT", "7"}})->timeout,
      std::chrono::seconds(7));
  for (const char* bad : {"0", "-1", "70000", "12x", ""}) {
    const auto settings = resolve("mpirun", rank_of(0, 2, 2), {{"MASTER_PORT", bad}});
    ASSERT_FALSE(settings.ok()) << bad;
    EXPECT_THAT(settings.error().what, HasSubstr("MASTER_PORT='" + std::string(bad) + "'"));
  }
}

} // namespace
} // namespace conclave
