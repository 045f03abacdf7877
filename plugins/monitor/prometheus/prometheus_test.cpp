// prometheus: the live endpoint read over a socket, its text against promtool, addresses, ports in use, endpoints of ranks, and
// files for service discovery.

#include "prometheus.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "conclave/testkit.hpp"

namespace conclave {
namespace {

using namespace prometheus_monitor;

/// A socket that listens on a port of the loopback interface.
class Listener {
 public:
  explicit Listener(int port = 0) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(socket_, 1) != 0)
      throw std::runtime_error("cannot listen");
    socklen_t length = sizeof address;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(socket_); }
  [[nodiscard]] int port() const { return port_; }

 private:
  int socket_, port_ = 0;
};

/// The body of GET /metrics; empty when nothing answers.
std::string scrape(int port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  std::string answer;
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n";
    (void)!::write(socket, request.data(), request.size());
    char buffer[4096];
    for (ssize_t got; (got = ::read(socket, buffer, sizeof buffer)) > 0;)
      answer.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(socket);
  const std::size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

/// The value of the line that starts with `series` and a space.
std::optional<double> value_of(const std::string& text, const std::string& series) {
  const std::size_t at = ("\n" + text).find("\n" + series + " ");
  if (at == std::string::npos) return std::nullopt;
  return std::strtod(text.c_str() + at + series.size() + 1, nullptr);
}

struct Running {
  testkit::FakeHost host;
  std::shared_ptr<PrometheusMonitor> monitor;
  RunInfo info;
  explicit Running(const Value& with = testkit::map({{"listen", "127.0.0.1:0"}})) {
    auto made = testkit::make<Monitor>(testkit::this_library("monitor/prometheus"), host, with);
    if (!made.ok()) throw std::runtime_error(made.error().render());
    monitor = std::static_pointer_cast<PrometheusMonitor>(*made);
    info.name = "te\"st\n";
    info.total_steps = 100;
  }
  Status start() { return monitor->start(info); }
  [[nodiscard]] std::string text() const { return scrape(monitor->endpoint().port); }
};

StepReport report_of(std::int64_t step) {
  StepReport report;
  report.step = step;
  report.metrics = {{"loss", "nats", 2.5, Reduction::mean, {}},
                    {"nll", "nats", 2.25, Reduction::mean, {}},
                    {"learning_rate", "", 1e-4, Reduction::none, {}},
                    {"grad_norm", "", 0.75, Reduction::none, {}},
                    {"tokens", "tokens", 1000, Reduction::sum, {}},
                    {"tokens_per_second", "", 12345, Reduction::sum, {}},
                    {"step_seconds", "seconds", 0.25, Reduction::max, {}},
                    {"applied", "", step == 2 ? 0.0 : 1.0, Reduction::min, {}},
                    {"loss_scale", "", 65536, Reduction::none, {}},
                    {"dropped_tokens", "tokens", 0, Reduction::sum, {}},
                    {"domain_share", "", 0.5, Reduction::none, {{"domain", "web"}}},
                    {"sent_bytes", "bytes", 512, Reduction::none, {{"group", "data"}, {"collective", "all_reduce"}}},
                    {"expert_load", "", 30, Reduction::sum, {{"layer", "3"}, {"expert", "0"}}},
                    {"expert_load", "", 10, Reduction::sum, {{"layer", "3"}, {"expert", "1"}}},
                    {"my-plugin metric", "bytes", 7, Reduction::none, {{"le", "x"}, {"0bad", "y"}}}};
  return report;
}

TEST(Prometheus, ServesTheRun) {
  Running run;
  ASSERT_TRUE(run.start().ok());
  for (std::int64_t step = 1; step <= 3; ++step) ASSERT_TRUE(run.monitor->step(report_of(step)).ok());
  EvaluationReport evaluation;
  evaluation.step = 3;
  evaluation.metrics = {{"eval_nll", "nats", 2.0, Reduction::mean, {}},
                        {"eval_nll", "nats", 2.1, Reduction::mean, {{"domain", "web"}}}};
  ASSERT_TRUE(run.monitor->evaluation(evaluation).ok());
  ASSERT_TRUE(run.monitor->checkpoint(3, "/x").ok());
  const std::string text = run.text();
  const std::vector<std::pair<std::string, double>> expected = {
      {"training_loss", 2.5},
      {"learning_rate", 1e-4},
      {"tokens_per_sec", 12345},
      {"conclave_tokens_per_second", 12345},
      {"conclave_nll_nats", 2.25},
      {"conclave_grad_norm", 0.75},
      {"conclave_loss_scale", 65536},
      {"conclave_tokens_total", 3000},
      {"conclave_skipped_steps_total", 1},
      {"conclave_dropped_tokens_total", 0},
      {"conclave_step", 3},
      {"conclave_target_steps", 100},
      {"conclave_step_duration_seconds_count", 3},
      {"conclave_domain_share_ratio{domain=\"web\"}", 0.5},
      {"conclave_sent_bytes_total{collective=\"all_reduce\",group=\"data\"}", 1536},
      {"conclave_expert_load_max_ratio{layer=\"3\"}", 1.5},
      {"conclave_my_plugin_metric_bytes{_0bad=\"y\",label_le=\"x\"}", 7},
      {"conclave_evaluation_nll_nats{domain=\"all\"}", 2.0},
      {"conclave_evaluation_nll_nats{domain=\"web\"}", 2.1},
      {"conclave_checkpoint_last_step", 3}};
  for (const auto& [series, value] : expected) EXPECT_EQ(value_of(text, series), value) << series << "\n" << text;
  EXPECT_EQ(text.find("expert=\""), std::string::npos);
  EXPECT_NE(text.find("name=\"te\\\"st\\n\""), std::string::npos);
  ASSERT_TRUE(run.monitor->finish(0).ok());
  EXPECT_EQ(run.text(), ""); // the port is given back
}

TEST(Prometheus, TellsOfTheDiskAndOfHowLongACheckpointTook) {
  Running run;
  run.info.directory = testing::TempDir();
  run.info.world_size = 4;
  ASSERT_TRUE(run.start().ok());
  ASSERT_TRUE(run.monitor->checkpoint(3, "/x").ok()); // of a step that this process did not see
  std::string text = run.text();
  EXPECT_EQ(value_of(text, "conclave_ranks"), 4);
  const auto now = static_cast<double>(std::time(nullptr));
  EXPECT_NEAR(value_of(text, "conclave_start_timestamp_seconds").value_or(0), now, 60);
  const auto size = value_of(text, "conclave_disk_size_bytes"), left = value_of(text, "conclave_disk_free_bytes");
  ASSERT_TRUE(size && left);
  EXPECT_EQ(*size, static_cast<double>(std::filesystem::space(run.info.directory).capacity));
  EXPECT_GT(*left, 0);
  EXPECT_LT(*left, *size);
  EXPECT_EQ(value_of(text, "conclave_checkpoint_duration_seconds"), std::nullopt);
  ASSERT_TRUE(run.monitor->step(report_of(4)).ok());
  ASSERT_TRUE(run.monitor->checkpoint(4, "/x").ok());
  const auto took = value_of(run.text(), "conclave_checkpoint_duration_seconds");
  ASSERT_TRUE(took);
  EXPECT_GE(*took, 0);
  EXPECT_LT(*took, 60);
}

TEST(Prometheus, ExportsEachExpertWhenAsked) {
  Running run(testkit::map({{"listen", "127.0.0.1:0"}, {"experts", true}}));
  ASSERT_TRUE(run.start().ok());
  ASSERT_TRUE(run.monitor->step(report_of(1)).ok());
  EXPECT_EQ(value_of(run.text(), "conclave_expert_load{expert=\"1\",layer=\"3\"}"), 10);
}

TEST(Prometheus, KeepsNaNOut) {
  Running run;
  ASSERT_TRUE(run.start().ok());
  StepReport report = report_of(1);
  ASSERT_TRUE(run.monitor->step(report).ok());
  for (Metric& metric : report.metrics) metric.value = std::nan("");
  ASSERT_TRUE(run.monitor->step(report).ok());
  const std::string text = run.text();
  for (std::size_t at = 0; at < text.size(); at = std::min(text.find('\n', at), text.size() - 1) + 1) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    // The server's own latencies (exposer_...) have none until the first scrape is over.
    if (!line.starts_with("exposer_")) {
      EXPECT_EQ(line.find(" Nan"), std::string::npos) << line;
    }
  }
  EXPECT_EQ(value_of(text, "training_loss"), 2.5);
  EXPECT_EQ(value_of(text, "conclave_step_duration_seconds_sum"), 0.25);
  EXPECT_EQ(value_of(text, "conclave_nonfinite_values_total{metric=\"training_loss\"}"), 1);
}

TEST(Prometheus, StopsAtTheNumberOfSeries) {
  Running run(testkit::map({{"listen", "127.0.0.1:0"}, {"experts", true}, {"max_series", 100}}));
  ASSERT_TRUE(run.start().ok());
  StepReport report = report_of(1);
  for (int i = 0; i < 500; ++i)
    report.metrics.push_back({"expert_load", "", 1, Reduction::sum, {{"layer", "0"}, {"expert", std::to_string(i)}}});
  ASSERT_TRUE(run.monitor->step(report).ok());
  ASSERT_TRUE(run.monitor->step(report).ok());
  std::size_t series = 0;
  const std::string text = run.text();
  for (std::size_t at = text.find("conclave_expert_load{"); at != std::string::npos;
       at = text.find("conclave_expert_load{", at + 1))
    ++series;
  EXPECT_LT(series, 100u);
  std::size_t warnings = 0;
  for (const auto& line : run.host.logs()) warnings += line.level == LogLevel::warning;
  EXPECT_EQ(warnings, 1u);
}

TEST(Prometheus, APortInUseIsNamedWithTheOption) {
  const Listener other;
  const std::string listen = "127.0.0.1:" + std::to_string(other.port());
  Running refused(testkit::map({{"listen", listen}}));
  const Status status = refused.start();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::unsupported);
  EXPECT_NE(status.error().what.find(std::to_string(other.port())), std::string::npos);
  EXPECT_NE(status.error().fix.find("listen"), std::string::npos);
  EXPECT_NE(status.error().fix.find("on_conflict"), std::string::npos);

  Running next(testkit::map({{"listen", listen}, {"on_conflict", "next"}}));
  ASSERT_TRUE(next.start().ok());
  EXPECT_GT(next.monitor->endpoint().port, other.port());
  EXPECT_NE(next.text().find("conclave_run_info"), std::string::npos);
}

/// Listeners on `count` ports in a row.
std::vector<std::unique_ptr<Listener>> take_ports(int count) {
  for (int tries = 0; tries < 100; ++tries) {
    std::vector<std::unique_ptr<Listener>> taken;
    taken.push_back(std::make_unique<Listener>());
    try {
      while (static_cast<int>(taken.size()) < count)
        taken.push_back(std::make_unique<Listener>(taken.back()->port() + 1));
      return taken;
    } catch (const std::runtime_error&) { // somebody has one of them: try elsewhere
    }
  }
  throw std::runtime_error("no ports in a row are free");
}

std::string loopback(int port) { return "127.0.0.1:" + std::to_string(port); }

/// Of the lines with a value, but the server's own.
std::vector<std::string> series_of(const std::string& text) {
  std::vector<std::string> series;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (!line.empty() && line[0] != '#' && !line.starts_with("exposer_")) series.push_back(line);
  return series;
}

TEST(Prometheus, ARankListensAtThePortPlusItsLocalRank) {
  auto taken = take_ports(4);
  const std::string listen = loopback(taken[0]->port());
  const int expected = taken[3]->port();
  taken.clear();
  for (const char* placement : {"rank", "node"}) {
    Running run(testkit::map({{"listen", listen}, {"placement", placement}}));
    EXPECT_EQ(run.monitor->placement(), std::string(placement) == "rank" ? Placement::rank : Placement::node);
    run.info.rank = 11;
    run.info.local_rank = 3;
    ASSERT_TRUE(run.start().ok());
    EXPECT_EQ(run.monitor->endpoint().port, expected);
  }
  Running global(testkit::map({{"listen", listen}}));
  EXPECT_EQ(global.monitor->placement(), Placement::global);
}

TEST(Prometheus, EverySeriesOfARankHasItsLabel) {
  Running run(testkit::map({{"listen", "127.0.0.1:0"}, {"placement", "rank"}, {"experts", true}}));
  run.info.rank = 11;
  ASSERT_TRUE(run.start().ok());
  StepReport report = report_of(1);
  report.metrics.push_back({"ranked", "", 5, Reduction::none, {{"rank", "x"}}});
  ASSERT_TRUE(run.monitor->step(report).ok());
  report.metrics[0].value = std::nan("");
  ASSERT_TRUE(run.monitor->step(report).ok());
  EvaluationReport evaluation;
  evaluation.metrics = {{"eval_nll", "nats", 2.0, Reduction::mean, {}}};
  ASSERT_TRUE(run.monitor->evaluation(evaluation).ok());
  ASSERT_TRUE(run.monitor->checkpoint(1, "/x").ok());
  const std::string text = run.text();
  for (const std::string& line : series_of(text)) EXPECT_NE(line.find("rank=\"11\""), std::string::npos) << line;
  EXPECT_EQ(value_of(text, "conclave_step_duration_seconds_count{rank=\"11\"}"), 2) << text;
  EXPECT_EQ(value_of(text, "conclave_ranked{label_rank=\"x\",rank=\"11\"}"), 5) << text;
}

TEST(Prometheus, ARankWhosePortIsTakenMovesAndSaysSo) {
  const Value with = testkit::map({{"listen", loopback(take_ports(1)[0]->port())}, {"placement", "rank"}});
  Running first(with), second(with); // as two runs on one machine
  second.info.rank = 1;
  ASSERT_TRUE(first.start().ok());
  ASSERT_TRUE(second.start().ok());
  const int wanted = first.monitor->endpoint().port, got = second.monitor->endpoint().port;
  EXPECT_GT(got, wanted);
  EXPECT_LE(got, wanted + 15);
  EXPECT_EQ(value_of(first.text(), "conclave_target_steps{rank=\"0\"}"), 100);
  EXPECT_EQ(value_of(second.text(), "conclave_target_steps{rank=\"1\"}"), 100);
  const auto warnings = [](const Running& run) {
    std::vector<std::string> said;
    for (const auto& line : run.host.logs())
      if (line.level == LogLevel::warning) said.push_back(line.text);
    return said;
  };
  EXPECT_TRUE(warnings(first).empty());
  EXPECT_EQ(warnings(second),
            std::vector<std::string>{"port " + std::to_string(wanted) + " of 127.0.0.1 is in use: listening on " +
                                     std::to_string(got) + " instead"});
  Running strict(testkit::map({{"listen", loopback(wanted)}, {"placement", "rank"}, {"on_conflict", "error"}}));
  EXPECT_FALSE(strict.start().ok());
}

TEST(Prometheus, NamesThePortsThatAreAllTaken) {
  const auto taken = take_ports(16);
  const int first = taken.front()->port(), last = taken.back()->port();
  Running run(testkit::map({{"listen", loopback(first)}, {"placement", "rank"}}));
  const Status status = run.start();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::unsupported);
  EXPECT_NE(status.error().what.find("the ports " + std::to_string(first) + " to " + std::to_string(last) + ";"),
            std::string::npos)
      << status.error().what;
  EXPECT_NE(status.error().fix.find("listen"), std::string::npos);

  Running beyond(testkit::map({{"listen", "127.0.0.1:65535"}, {"placement", "rank"}}));
  beyond.info.local_rank = 1;
  const Status refused = beyond.start();
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().what.find("65536"), std::string::npos) << refused.error().what;
}

nlohmann::json read_json(const std::filesystem::path& file) {
  std::ifstream in(file);
  return nlohmann::json::parse(in);
}

TEST(Prometheus, TellsItsEndpointInATargetFileAsLongAsItListens) {
  testkit::TemporaryDir directory;
  const auto file = directory.path() / "prometheus/targets.5.json";
  Running run(testkit::map({{"listen", "127.0.0.1:0"}, {"placement", "rank"}, {"targets_file", "prometheus/targets"}}));
  run.info.directory = directory.path().string();
  run.info.rank = 5;
  run.info.name = "a \"run\" of \xff";
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << "[what a killed attempt left, which is longer than what comes now: " << std::string(500, '.');
  ASSERT_TRUE(run.start().ok());
  const std::string address = loopback(run.monitor->endpoint().port);
  EXPECT_EQ(read_json(file), nlohmann::json::parse(R"([{"targets": [")" + address +
                                                   R"("], "labels": {"run": "a \"run\" of \ufffd", "rank": "5"}}])"));
  const auto entries = [&] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(file.parent_path()))
      names.insert(entry.path().filename().string());
    return names;
  };
  EXPECT_EQ(entries(), std::set<std::string>{"targets.5.json"}); // and nothing unfinished
  ASSERT_TRUE(run.monitor->finish(0).ok());
  EXPECT_EQ(entries(), std::set<std::string>{});
}

TEST(Prometheus, RankZeroTakesAwayWhatRanksOfAKilledAttemptLeft) {
  testkit::TemporaryDir directory;
  const auto left_after = [&](const char* placement, int rank, int world_size) {
    for (const char* name : {"t.0.json", "t.1.json", "t.2.json", "t.10.json", "t.2.json.tmp", "t.x.json", "t.-3.json",
                             "t.json", "t..json", "t.2x.json", "other.7.json"})
      directory.write(name, "");
    Running run(testkit::map({{"listen", "127.0.0.1:0"}, {"placement", placement}, {"targets_file", "t"}}));
    run.info.directory = directory.path().string();
    run.info.rank = rank;
    run.info.world_size = world_size;
    EXPECT_TRUE(run.start().ok());
    std::set<std::string> numbered;
    std::size_t others = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
      const std::string name = entry.path().filename().string();
      if (std::set<std::string>{"t.0.json", "t.1.json", "t.2.json", "t.10.json"}.contains(name))
        numbered.insert(name);
      else
        ++others;
    }
    EXPECT_EQ(others, 7u) << "files of other names are not ours";
    return numbered;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(left_after("rank", 0, 2), (Names{"t.0.json", "t.1.json"}));
  EXPECT_EQ(left_after("node", 0, 11), (Names{"t.0.json", "t.1.json", "t.2.json", "t.10.json"}));
  EXPECT_EQ(left_after("global", 0, 4), (Names{"t.0.json"}));
  EXPECT_EQ(left_after("rank", 1, 2), (Names{"t.0.json", "t.1.json", "t.2.json", "t.10.json"}));
}

TEST(Prometheus, AnnouncesAnAddressThatOthersReach) {
  testkit::TemporaryDir directory;
  std::array<char, 256> machine{};
  ASSERT_EQ(::gethostname(machine.data(), machine.size() - 1), 0);
  const auto announced = [&](const char* listen, const char* announce) {
    // The one endpoint of a run, at an absolute path, carries no rank.
    Running run(testkit::map(
        {{"listen", listen}, {"targets_file", (directory.path() / "all").string()}, {"announce", announce}}));
    run.info.directory = "/nonexistent";
    run.info.name = "r";
    EXPECT_TRUE(run.start().ok());
    const auto groups = read_json(directory.path() / "all.0.json");
    EXPECT_EQ(groups[0]["labels"], nlohmann::json({{"run", "r"}}));
    const auto target = groups[0]["targets"][0].get<std::string>();
    const std::string port = ":" + std::to_string(run.monitor->endpoint().port);
    EXPECT_TRUE(target.ends_with(port)) << target;
    return target.substr(0, target.size() - port.size());
  };
  EXPECT_EQ(announced("127.0.0.1:0", ""), "127.0.0.1");
  EXPECT_EQ(announced("0.0.0.0:0", ""), machine.data());
  EXPECT_EQ(announced("127.0.0.1:0", "gateway.example.org"), "gateway.example.org");
  EXPECT_EQ(announced("127.0.0.1:0", "2001:db8::1"), "[2001:db8::1]");
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "all.0.json")); // gone with the monitor
}

TEST(Prometheus, ATargetFileThatCannotBeWrittenEndsTheRun) {
  testkit::TemporaryDir directory;
  const auto in_the_way = directory.write("file", "");
  Running run(testkit::map({{"listen", "127.0.0.1:0"}, {"targets_file", (in_the_way / "targets").string()}}));
  const Status status = run.start();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::storage);
  EXPECT_EQ(status.error().where, (in_the_way / "targets.0.json").string());
  EXPECT_NE(status.error().fix.find("targets_file"), std::string::npos);

  Running blocked(testkit::map({{"listen", "127.0.0.1:0"}, {"targets_file", (directory.path() / "x").string()}}));
  std::filesystem::create_directories(directory.path() / "x.0.json"); // the rename fails
  EXPECT_FALSE(blocked.start().ok());
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "x.0.json.tmp"));
}

TEST(Prometheus, RefusesWhatIsNoHostToAnnounce) {
  const auto& table = testkit::this_library("monitor/prometheus").options;
  const auto bind = [&](const char* announce, const char* targets_file) {
    return testkit::bind_options(table, testkit::map({{"announce", announce}, {"targets_file", targets_file}}));
  };
  for (const char* good : {"a-1.example.org", "10.0.0.1", "::1", "under_score"}) {
    EXPECT_TRUE(bind(good, "t").ok()) << good;
    EXPECT_TRUE(bind(good, "t").diagnostics.all().empty()) << good;
  }
  for (const char* bad : {"host:80", "http://host", "[::1]", "a b", ":::"}) EXPECT_FALSE(bind(bad, "t").ok()) << bad;
  EXPECT_FALSE(bind("", "folder/").ok());
  EXPECT_TRUE(bind("host", "").ok());
  EXPECT_FALSE(bind("host", "").diagnostics.all().empty());
}

TEST(Prometheus, ForeignAddressIsRefused) {
  Running run(testkit::map({{"listen", "192.0.2.1:8000"}})); // TEST-NET-1: no machine has it
  const Status status = run.start();
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().what.find("192.0.2.1:8000"), std::string::npos);
}

TEST(Prometheus, ReadsAddressesItself) {
  EXPECT_EQ(parse_endpoint("127.0.0.1:8000")->text(), "127.0.0.1:8000");
  EXPECT_EQ(parse_endpoint("[::1]:9")->text(), "[::1]:9");
  EXPECT_EQ(parse_endpoint("localhost:80")->host, "127.0.0.1");
  EXPECT_TRUE(parse_endpoint("[::1]:9")->is_loopback());
  EXPECT_FALSE(parse_endpoint("0.0.0.0:9")->is_loopback());
  for (const char* bad :
       {"", "8000", ":8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "999.1.1.1:1",
        "::1:8000", "[::1]", "[127.0.0.1]:1", "host:80", "127.0.0.1:80 "})
    EXPECT_FALSE(parse_endpoint(bad).ok()) << bad;
  const auto& table = testkit::this_library("monitor/prometheus").options;
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"listen", "8000"}})).ok());
  EXPECT_FALSE(testkit::bind_options(table, testkit::map({{"listen", "0.0.0.0:8000"}})).diagnostics.all().empty());
}

/// promtool as a shell's word: the one that tools/bootstrap --oracles unpacked, or the system's; "" without either.
std::string promtool() {
  if (::access(BOOTSTRAPPED_PROMTOOL, X_OK) == 0) return "'" BOOTSTRAPPED_PROMTOOL "'";
  return std::system("command -v promtool >/dev/null 2>&1") == 0 ? "promtool" : "";
}

TEST(Prometheus, PassesPromtool) {
  const std::string tool = promtool();
  if (tool.empty()) GTEST_SKIP() << "there is no promtool: run tools/bootstrap --oracles";
  testkit::TemporaryDir directory;
  const auto complaints = [&](const Value& with) {
    Running run(with);
    if (!run.start().ok()) throw std::runtime_error("no endpoint");
    (void)run.monitor->step(report_of(1));
    EvaluationReport evaluation;
    evaluation.metrics = {{"eval_bits_per_byte", "bits", 1, Reduction::mean, {{"domain", "web"}}}};
    (void)run.monitor->evaluation(evaluation);
    (void)run.monitor->checkpoint(1, "/x");
    const auto file = directory.write("metrics.txt", run.text());
    std::string said;
    if (FILE* pipe = ::popen((tool + " check metrics < '" + file.string() + "' 2>&1").c_str(), "r")) {
      char buffer[1024];
      while (std::fgets(buffer, sizeof buffer, pipe)) said += buffer;
      said += "exit " + std::to_string(WEXITSTATUS(::pclose(pipe)));
    }
    return said;
  };
  EXPECT_EQ(complaints(testkit::map({{"listen", "127.0.0.1:0"}, {"experts", true}, {"short_names", false}})), "exit 0");
  EXPECT_EQ(complaints(testkit::map({{"listen", "127.0.0.1:0"}, {"placement", "rank"}, {"short_names", false}})),
            "exit 0");
  // The one name that its style check refuses, and nothing else.
  EXPECT_EQ(complaints(testkit::map({{"listen", "127.0.0.1:0"}})),
            "tokens_per_sec metric names should not contain abbreviated units\nexit 3");
}

} // namespace
} // namespace conclave
