// Metrics pages: their format, what a view takes from them, and the way there.

#include "top/endpoint.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <thread>

#include "top/exposition.hpp"
#include "top/http_get.hpp"

namespace conclave::top {
namespace {

/// Listens on a port, and answers one connection with that text, or takes it and says nothing.
class Server {
 public:
  explicit Server(std::string answer) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(socket_, 1);
    socklen_t length = sizeof address;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this, answer = std::move(answer)](const std::stop_token& stop) {
      const int client = ::accept(socket_, nullptr, nullptr);
      char request[4096];
      const ssize_t got = ::read(client, request, sizeof request);
      request_.assign(request, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      if (!answer.empty()) (void)!::write(client, answer.data(), answer.size());
      while (answer.empty() && !stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ::close(client);
    });
  }
  ~Server() {
    thread_.request_stop();
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  [[nodiscard]] std::string url(const std::string& path = "/metrics") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  [[nodiscard]] const std::string& request() {
    thread_.join();
    thread_ = std::jthread([] {});
    return request_;
  }

 private:
  int socket_, port_ = 0;
  std::string request_;
  std::jthread thread_;
};

constexpr const char* page = R"(# HELP training_loss Loss.
# TYPE training_loss gauge
training_loss 2.5
conclave_run_info{config_hash="ab",name="my \"run\"\\\n"} 1
conclave_step 12
conclave_target_steps 100
conclave_attempt 1
conclave_ranks 4
learning_rate 0.001
conclave_tokens_per_second 1.5e+06
conclave_grad_norm Nan
conclave_step_duration_seconds_bucket{le="+Inf"} 4
conclave_step_duration_seconds_sum 8
conclave_step_duration_seconds_count 4
conclave_data_wait_seconds 0.25
conclave_last_step_timestamp_seconds 1000
conclave_evaluation_nll_nats{domain="all"} 3
conclave_evaluation_nll_nats{domain="web"} 3.5
conclave_checkpoint_last_step 10
conclave_expert_load_max_ratio{layer="10"} 1.5
conclave_expert_load_max_ratio{layer="2"} 3
conclave_expert_load_tokens{layer="2",expert="1"} 30
conclave_expert_load_tokens{layer="2",expert="0"} 10 1700000000000
)";

TEST(Exposition, SamplesWithLabels) {
  const auto samples =
      parse_exposition("a 1\n#c 2\nb{x=\"1\",y=\"a b,}\\\"\"} +Inf 123\n\nbroken{x=\"1\nno_value \nc{} NaN");
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].name, "a");
  EXPECT_EQ(samples[0].value, 1);
  EXPECT_EQ(samples[1].labels, (std::map<std::string, std::string>{{"x", "1"}, {"y", "a b,}\""}}));
  EXPECT_TRUE(std::isinf(samples[1].value));
  EXPECT_EQ(samples[2].name, "c");
  EXPECT_TRUE(std::isnan(samples[2].value));
}

TEST(Endpoint, TakesAPage) {
  View view;
  take_page(page, 1007, view);
  EXPECT_EQ(view.name, "my \"run\"\\\n");
  EXPECT_EQ(view.step, 12);
  EXPECT_EQ(view.total_steps, 100);
  EXPECT_EQ(view.attempt, 1);
  EXPECT_EQ(view.ranks, 4);
  EXPECT_EQ(view.step_seconds, 2);
  EXPECT_EQ(view.data_wait_seconds, 0.25);
  EXPECT_EQ(view.silent_seconds, 7);
  EXPECT_EQ(view.checkpoint, 10);
  EXPECT_EQ(view.held_out, (std::map<std::string, double>{{"web", 3.5}}));
  ASSERT_EQ(view.points.size(), 1u);
  EXPECT_EQ(view.points[0].step, 12);
  EXPECT_EQ(view.points[0].loss, 2.5);
  EXPECT_EQ(view.points[0].tokens_per_second, 1.5e6);
  EXPECT_TRUE(std::isnan(view.points[0].grad_norm));
  ASSERT_EQ(view.experts.size(), 2u);
  EXPECT_EQ(view.experts[0].name, "2");
  EXPECT_EQ(view.experts[0].fullest, 3);
  EXPECT_EQ(view.experts[0].load, (std::vector<double>{10, 30}));
  EXPECT_EQ(view.experts[1].name, "10");
  take_page(page, 1008, view); // the same step again
  EXPECT_EQ(view.points.size(), 1u);
  take_page("conclave_step 14\ntraining_loss 2\n", 1009, view);
  EXPECT_EQ(view.points.size(), 2u);
  take_page("conclave_step 11\ntraining_loss 3\n", 1010, view); // it went on from a checkpoint
  ASSERT_EQ(view.points.size(), 1u);
  EXPECT_EQ(view.points[0].step, 11);
}

TEST(HttpGet, ThePageThatIsThere) {
  Server server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
  const auto body = http_get(server.url("/some/page"), std::chrono::seconds(20));
  ASSERT_TRUE(body.ok()) << body.error().render();
  EXPECT_EQ(*body, "hello");
  EXPECT_TRUE(server.request().starts_with("GET /some/page HTTP/1.1\r\n"));
}

TEST(HttpGet, ThePathOfMetricsWhereNoneIsGiven) {
  Server server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  ASSERT_TRUE(http_get(server.url(""), std::chrono::seconds(20)).ok());
  EXPECT_TRUE(server.request().starts_with("GET /metrics HTTP/1.1\r\n"));
}

TEST(HttpGet, OtherAnswers) {
  Server absent("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  const auto refused = http_get(absent.url(), std::chrono::seconds(20));
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().what.find("answers 404"), std::string::npos) << refused.error().what;
  Server silent("");
  const auto late = http_get(silent.url(), std::chrono::milliseconds(200));
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, Code::unsupported);
  Server torn("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello");
  EXPECT_FALSE(http_get(torn.url(), std::chrono::seconds(20)).ok());
  Server noise("SSH-2.0-OpenSSH\r\n\r\n");
  EXPECT_FALSE(http_get(noise.url(), std::chrono::seconds(20)).ok());
  EXPECT_FALSE(http_get("http://127.0.0.1:1/metrics", std::chrono::seconds(20)).ok());
}

TEST(HttpGet, WhatIsNoAddress) {
  for (const char* url : {"https://a/", "http://", "http://:80/", "runs/x"}) {
    const auto body = http_get(url, std::chrono::seconds(1));
    ASSERT_FALSE(body.ok());
    EXPECT_EQ(body.error().code, Code::invalid_argument) << url;
  }
}

} // namespace
} // namespace conclave::top
