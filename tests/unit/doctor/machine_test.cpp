// Limits, memory, /dev/shm, clocks, ports: faults planted.

#include "doctor/machine.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <limits>

#include "doctor/clocks.hpp"
#include "doctor/ports.hpp"
#include "io/file_handle.hpp"
#include "launch/sockets.hpp"
#include "unit/doctor/lines.hpp"

namespace conclave::doctor {
namespace {

constexpr auto no_limit = std::numeric_limits<std::uint64_t>::max();

MachineFacts good_machine() {
  MachineFacts facts;
  facts.open_files = 1'048'576;
  facts.open_files_most = 1'048'576;
  facts.locked_memory = no_limit;
  facts.infiniband = facts.gpus = true;
  facts.cpus = 128;
  facts.numa_nodes = 2;
  facts.memory = 1'000'000'000'000;
  facts.memory_free = 900'000'000'000;
  facts.shm = facts.shm_free = 64'000'000'000;
  facts.hung_tasks = 0;
  return facts;
}

TEST(Machine, AGoodOneHasNothingButGoodLines) {
  const Checks checks = judge_machine(good_machine(), {});
  EXPECT_EQ(names(checks), "processors, memory, shared memory, open files, locked memory");
  for (const Check& check : checks) EXPECT_EQ(check.verdict, Verdict::ok) << check.name;
  EXPECT_EQ(line(checks, "processors").figure, "128, NUMA nodes: 2");
  EXPECT_EQ(line(checks, "locked memory").figure, "no limit");
}

TEST(Machine, EachFault) {
  const auto one = [](const char* name, Verdict verdict, const std::string& figure, const auto& plant) {
    MachineFacts facts = good_machine();
    plant(facts);
    const Check check = line(judge_machine(facts, {}), name);
    EXPECT_EQ(check.verdict, verdict) << name;
    EXPECT_EQ(check.figure, figure);
    EXPECT_NE(check.advice, "") << name;
  };
  one("open files", Verdict::fail, "256", [](MachineFacts& facts) { facts.open_files = 256; });
  one("open files", Verdict::warn, "1024", [](MachineFacts& facts) { facts.open_files = 1024; });
  one("locked memory", Verdict::fail, "65.5 kB", [](MachineFacts& facts) { facts.locked_memory = 65536; });
  one("shared memory", Verdict::warn, "67.1 MB, 67.1 MB free",
      [](MachineFacts& facts) { facts.shm = facts.shm_free = 67'108'864; });
  one("shared memory", Verdict::fail, "there is no /dev/shm", [](MachineFacts& facts) { facts.shm.reset(); });
  one("memory", Verdict::warn, "1.00 TB, 1.00 GB free", [](MachineFacts& facts) { facts.memory_free = 1'000'000'000; });
  one("kernel", Verdict::warn, "3 hung tasks since it started", [](MachineFacts& facts) { facts.hung_tasks = 3; });
}

TEST(Machine, AnExpectationDecidesWhereThereIsOne) {
  Expectation expected;
  expected.cpus = 128;
  expected.memory = 1'000'000'000'000;
  expected.shared_memory = 64'000'000'000;
  expected.nofile = 1'048'576;
  for (const Check& check : judge_machine(good_machine(), expected))
    EXPECT_EQ(check.verdict, Verdict::ok) << check.name;
  expected.cpus = 129;
  expected.memory = 1'000'000'000'001;
  expected.shared_memory = 64'000'000'001;
  expected.nofile = 1'048'577;
  const Checks checks = judge_machine(good_machine(), expected);
  for (const char* name : {"processors", "memory", "shared memory", "open files"})
    EXPECT_EQ(line(checks, name).verdict, Verdict::fail) << name;
  EXPECT_TRUE(line(checks, "open files").advice.starts_with("1048577 wanted: "));
}

TEST(Machine, ThisOneIsRead) {
  const MachineFacts facts = read_machine();
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_cur != RLIM_INFINITY) {
    EXPECT_EQ(facts.open_files, files.rlim_cur);
  }
  EXPECT_GE(facts.cpus, 1);
  EXPECT_GE(facts.numa_nodes, 1);
  EXPECT_GT(facts.memory, 100'000'000);
  EXPECT_GT(facts.memory_free, 0);
  EXPECT_LE(facts.memory_free, facts.memory);
}

TEST(Machine, TextsOfTheKernel) {
  EXPECT_EQ(meminfo_value("MemTotal:       24096028 kB\nMemFree:  12 kB\nMemAvailable:\t7 kB\n", "MemAvailable"),
            7 * 1024);
  EXPECT_EQ(meminfo_value("MemTotal:       24096028 kB\n", "MemTotal"), 24096028LL * 1024);
  EXPECT_EQ(meminfo_value("MemTotal: none\n", "MemTotal"), std::nullopt);
  EXPECT_EQ(meminfo_value("", "MemTotal"), std::nullopt);
  EXPECT_EQ(count_of_list("0\n"), 1);
  EXPECT_EQ(count_of_list("0-3,8,10-11\n"), 7);
  EXPECT_EQ(count_of_list(""), 0);
}

TEST(Clocks, TheShortestWayTells) {
  // This clock is 5 s ahead; readings take 1 to 200 ms to come.
  EXPECT_NEAR(clock_offset({{100, 105.2}, {101, 106.001}, {102, 107.05}}), 5.001, 1e-9);
  EXPECT_NEAR(clock_offset({{100, 95.2}, {101, 96.001}}), -4.999, 1e-9);
}

TEST(Clocks, ANodeThatIsAheadIsNamed) {
  EXPECT_EQ(judge_clocks({0, 0.004, -0.1}, {"a", "a", "b"}, {}),
            (Check{"clocks of the nodes", Verdict::ok, "0.104 s apart", ""}));
  const Check apart = judge_clocks({0, 0, 2.5, 2.4}, {"a", "a", "b", "b"}, {});
  EXPECT_EQ(apart.verdict, Verdict::fail);
  EXPECT_EQ(apart.figure, "2.50 s apart: b is ahead of a");
  Expectation expected;
  expected.clock_skew = 3.0;
  EXPECT_EQ(judge_clocks({0, 2.5}, {"a", "b"}, expected).verdict, Verdict::ok);
  expected.clock_skew = 0.01;
  EXPECT_EQ(judge_clocks({0, 0.02}, {"a", "b"}, expected).verdict, Verdict::fail);
}

TEST(Ports, OneInUseAndOneThatIsFree) {
  auto taken = bind_socket({"127.0.0.1", 0}, false);
  ASSERT_TRUE(taken.ok());
  const int port = taken->address.port;
  EXPECT_EQ(check_port(port).verdict, Verdict::fail);
  EXPECT_EQ(check_port(port).figure, "in use");
  taken->socket.reset();
  EXPECT_EQ(check_port(port).verdict, Verdict::ok);
}

} // namespace
} // namespace conclave::doctor
