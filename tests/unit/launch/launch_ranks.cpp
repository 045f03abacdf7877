// launch_ranks BODY: one rank of a test.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "rank_bodies.hpp"

namespace conclave::testing_launch {
namespace {

std::map<std::string, Body>& bodies() {
  static std::map<std::string, Body> all;
  return all;
}

[[noreturn]] void end(const Error& error) {
  std::fprintf(stderr, "%s\n", error.render().c_str());
  std::exit(exit_code(error.code));
}

const char* lookup(const char* name) { return std::getenv(name); }

} // namespace

RegisterBody::RegisterBody(const char* name, Body body) { bodies()[name] = body; }

std::string variable(const char* name, const char* otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : otherwise;
}

RendezvousSettings settings_here() {
  const auto ranks = resolve_ranks(lookup);
  if (!ranks.ok()) end(ranks.error());
  auto settings = resolve_rendezvous(*ranks, lookup);
  if (!settings.ok()) end(settings.error());
  if (std::getenv("TEST_HOST_STORE") != nullptr) { // as under mpirun
    settings->ranks.launcher = "mpirun";
    settings->host_store = ranks->rank == 0;
  }
  return *settings;
}

std::unique_ptr<Rendezvous> join_here() {
  auto joined = Rendezvous::join(settings_here());
  if (!joined.ok()) end(joined.error());
  return std::move(joined).value();
}

Mesh mesh_here(const RankInfo& ranks) {
  const auto number = [](const char* name) { return std::stol(variable(name, "1")); };
  const auto mesh = resolve_mesh(
      {.tensor = number("TEST_TENSOR"), .pipeline = number("TEST_PIPELINE"), .expert = number("TEST_EXPERT")},
      ranks.world_size, ranks.rank);
  if (!mesh.ok()) end(mesh.error());
  return *mesh;
}

} // namespace conclave::testing_launch

int main(int argc, char** argv) {
  ::alarm(120); // whatever happens, nothing of a test stays behind
  ::testing::InitGoogleTest(&argc, argv);
  const auto& bodies = conclave::testing_launch::bodies();
  const auto body = bodies.find(argc > 1 ? argv[1] : "");
  if (body == bodies.end()) return 2;
  const int code = body->second();
  return ::testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed() ? 1 : code;
}
