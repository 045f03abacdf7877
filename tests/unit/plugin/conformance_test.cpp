// The conformance suite passes a good library and finds each fault, also one that crashes.

#include "plugin/conformance/suite.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "conclave/testkit.hpp"
#include "support/crash.hpp"

namespace conclave {
namespace {

using testing::HasSubstr;

std::map<std::string, CaseResult> check(const std::string& file, const std::string& with = {},
                                        const std::string& only = {}) {
  ConformanceRequest request;
  request.self = CONCLAVE_CASE_HOST;
  request.file = std::string(CONCLAVE_FAULT_PLUGINS) + "/" + file;
  request.with = with;
  request.only = only;
  request.plugin_path = {CONCLAVE_FAULT_PLUGINS "/twin"}; // small, and all of it works
  const auto results = run_conformance(request);
  if (!results.ok()) throw std::runtime_error(results.error().render());
  std::map<std::string, CaseResult> by_name;
  for (const CaseResult& result : *results) by_name[result.name] = result;
  return by_name;
}

void expect_failure(const CaseResult& result, const std::string& detail) {
  EXPECT_EQ(result.outcome, CaseOutcome::failed) << result.name;
  EXPECT_THAT(result.detail, HasSubstr(detail)) << result.name;
}

TEST(Conformance, PassesAGoodLibrary) {
  const auto results = check("scheduler-good.so", "{factor: 0.5}");
  EXPECT_GT(results.size(), 10u);
  for (const auto& [name, result] : results)
    EXPECT_EQ(result.outcome, CaseOutcome::passed) << name << ": " << result.detail;
}

TEST(Conformance, FindsALearningRateThatIsNoNumber) {
  const auto results = check("scheduler-nan-scheduler.so");
  expect_failure(results.at("the rate is finite and not negative"), "the learning rate is nan at step");
  EXPECT_EQ(results.at("the rate is pure").outcome, CaseOutcome::passed); // told once
  EXPECT_EQ(results.at("describes itself").outcome, CaseOutcome::passed);
}

TEST(Conformance, OutlivesACrash) {
  const auto results = check("scheduler-crashing-call.so", "", "rate");
  expect_failure(results.at("the rate is finite and not negative"), support::crashed);
  expect_failure(results.at("the rate is pure"), support::crashed);
}

TEST(Conformance, NamesAThrowingConstructor) {
  expect_failure(check("scheduler-throwing-constructor.so").at("instances come and go"), "does not feel like it");
}

TEST(Conformance, StopsAtALibraryThatDoesNotFit) {
  const auto results = check("scheduler-wrong-fingerprint.so");
  expect_failure(results.at("its fingerprint fits this host"), "0123456789abcdef");
  EXPECT_EQ(results.count("describes itself"), 0u);
  expect_failure(check("scheduler-throwing-table.so").at("opens within 10 s and describes its plugins"), "upside down");
}

TEST(Conformance, FindsFaultsOfOtherKinds) {
  expect_failure(check("kinds/checkpoint-fault-retires-all.so").at("never retires all"), "removes");
  const auto filter = check("kinds/filter-fault-impure.so");
  expect_failure(filter.at("annotate is pure"), "the second time");
  expect_failure(filter.at("documents every option"), "option n has no doc");
  const auto optimizer = check("kinds/optimizer-fault-deaf.so");
  expect_failure(optimizer.at("a shut gate leaves all untouched"), "inf");
  EXPECT_EQ(optimizer.at("elementwise means elementwise").outcome, CaseOutcome::passed);
}

TEST(Conformance, WhatAPluginPrintsIsNoAnswer) {
  for (const auto& [name, result] : check("kinds/scheduler-fault-talkative.so"))
    EXPECT_EQ(result.outcome, CaseOutcome::passed) << name << ": " << result.detail;
}

TEST(Conformance, MakesNestedPluginsFromThePluginPath) {
  const auto inner = [](const char* id, const char* with) {
    return check("kinds/scheduler-fault-talkative.so",
                 std::string("{next: {use: scheduler/") + id + ", with: " + with + "}}");
  };
  for (const auto& [name, result] : inner("good", "{factor: 0.5}"))
    EXPECT_EQ(result.outcome, CaseOutcome::passed) << name << ": " << result.detail;
  const auto zero = inner("good", "{factor: 0}"); // so it is the inner one that gives the rate
  expect_failure(zero.at("the rate is not always zero"), "is 0 in every step");
  expect_failure(inner("good", "{facter: 0.5}").at("instances come and go"), "facter");
  const auto missing = inner("nobody", "{}");
  EXPECT_EQ(missing.at("the rate is pure").outcome, CaseOutcome::skipped);
  EXPECT_THAT(missing.at("the rate is pure").detail, HasSubstr("scheduler/nobody"));
}

TEST(Conformance, RefusesATensorPluginWhoseNoteNamesNoTorch) {
  const auto results = check("kinds/optimizer-fault-no-torch.so");
  expect_failure(results.at("opens within 10 s and describes its plugins"),
                 "conclave_add_plugin(optimizer ... TENSOR)");
  EXPECT_EQ(results.count("describes itself"), 0u);
}

TEST(Conformance, HoldsModelsToTheirGradients) {
  const std::map<std::string, std::pair<std::string, std::string>> faults = {
      {"sink", {"gradients reach their sinks", "the sink of embed.weight holds another gradient"}},
      {"contributions",
       {"gradients reach their sinks", "2 contributions in one backward pass; its ParamSpec announces 1"}},
      {"chunks", {"two chunks equal the whole", "the gradient of embed.weight 0 0 is another one"}},
      {"gate", {"a shut gate leaves the buffers", "update_buffers() changes total"}}};
  for (const auto& [name, result] : check("kinds/model-fault-by-option.so"))
    EXPECT_EQ(result.outcome, CaseOutcome::passed) << name << ": " << result.detail;
  for (const auto& [fault, found] : faults) {
    const auto results = check("kinds/model-fault-by-option.so", "{fault: " + fault + "}", found.first);
    expect_failure(results.at(found.first), found.second);
  }
}

TEST(Conformance, RefusesOptionsThatAreNoMap) {
  ConformanceRequest request;
  request.self = CONCLAVE_CASE_HOST;
  request.file = std::string(CONCLAVE_FAULT_PLUGINS) + "/scheduler-good.so";
  request.with = "[1, 2]";
  EXPECT_EQ(run_conformance(request).error().code, Code::invalid_argument);
  request.file = "/no/such/file.so";
  EXPECT_EQ(run_conformance(request).error().where, "/no/such/file.so");
}

} // namespace
} // namespace conclave
