// The observer's order, its bounded queue, and what happens when a monitor fails.

#include "run/observer.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>

namespace conclave {
namespace {

class Recorder final : public Monitor {
 public:
  Status start(const RunInfo&) override { return start_status; }
  Status step(const StepReport& report) override {
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    if (report.step == throw_at) throw std::runtime_error("boom");
    steps.push_back(report.step);
    return {};
  }
  Status flush() override {
    flushed_after = static_cast<std::int64_t>(steps.size());
    return {};
  }
  Status finish(int exit_code) override {
    code = exit_code;
    return {};
  }
  Status start_status;
  std::chrono::milliseconds delay{0};
  std::int64_t throw_at = -1;
  std::vector<std::int64_t> steps;
  std::int64_t flushed_after = -1;
  int code = -1;
};

StepReport report(std::int64_t step) {
  StepReport r;
  r.step = step;
  return r;
}

TEST(Observer, KeepsOrderAndLosesNothingWhenTheQueueIsFull) {
  Logger log(true);
  auto slow = std::make_shared<Recorder>();
  slow->delay = std::chrono::milliseconds(1);
  Observer observer({{"monitor/slow", "slow", slow}}, log, 2);
  ASSERT_TRUE(observer.start({}).ok());
  for (std::int64_t i = 1; i <= 20; ++i) observer.post(report(i));
  observer.finish(75);
  ASSERT_EQ(slow->steps.size(), 20u);
  EXPECT_TRUE(std::is_sorted(slow->steps.begin(), slow->steps.end()));
  EXPECT_EQ(slow->code, 75);
}

TEST(Observer, AThrowingMonitorIsSwitchedOffAndTheOthersGoOn) {
  Logger log(true);
  auto bad = std::make_shared<Recorder>();
  bad->throw_at = 2;
  auto good = std::make_shared<Recorder>();
  Observer observer({{"monitor/bad", "bad", bad}, {"monitor/good", "good", good}}, log);
  ASSERT_TRUE(observer.start({}).ok());
  for (std::int64_t i = 1; i <= 4; ++i) observer.post(report(i));
  observer.finish(0);
  EXPECT_EQ(bad->steps, (std::vector<std::int64_t>{1}));
  EXPECT_EQ(good->steps.size(), 4u);
}

TEST(Observer, FlushComesAfterWhatWasPostedAndDoesNotWaitForWhatComesLater) {
  Logger log(true);
  auto slow = std::make_shared<Recorder>();
  slow->delay = std::chrono::milliseconds(2);
  Observer observer({{"monitor/slow", "slow", slow}}, log, 4);
  ASSERT_TRUE(observer.start({}).ok());
  for (std::int64_t i = 1; i <= 10; ++i) observer.post(report(i));
  std::jthread stepping([&observer](const std::stop_token& stop) { // training goes on while a checkpoint is written
    for (std::int64_t i = 11; !stop.stop_requested(); ++i) observer.post(report(i));
  });
  EXPECT_TRUE(observer.flush(std::chrono::minutes(5)));
  EXPECT_GE(slow->flushed_after, 10);
  stepping.request_stop();
  stepping.join();
  observer.finish(0);
}

TEST(Observer, WhatComesAfterFinishIsDroppedAndNobodyWaits) {
  Logger log(true);
  auto monitor = std::make_shared<Recorder>();
  Observer observer({{"monitor/x", "x", monitor}}, log, 2);
  ASSERT_TRUE(observer.start({}).ok());
  observer.post(report(1));
  observer.finish(3);
  for (std::int64_t i = 2; i <= 10; ++i) observer.post(report(i)); // more than the queue holds
  EXPECT_TRUE(observer.flush(std::chrono::minutes(5)));
  observer.drain();
  observer.finish(0);
  EXPECT_EQ(monitor->steps, (std::vector<std::int64_t>{1}));
  EXPECT_EQ(monitor->flushed_after, -1);
  EXPECT_EQ(monitor->code, 3);
}

class Hung final : public Monitor {
 public:
  Status start(const RunInfo&) override { return {}; }
  Status step(const StepReport&) override {
    released.get_future().wait();
    return {};
  }
  std::promise<void> released;
};

TEST(Observer, AFlushGivesUpOnAMonitorThatDoesNotReturn) {
  Logger log(true);
  auto hung = std::make_shared<Hung>();
  Observer observer({{"monitor/hung", "hung", hung}}, log);
  ASSERT_TRUE(observer.start({}).ok());
  observer.post(report(1));
  EXPECT_FALSE(observer.flush(std::chrono::seconds(1)));
  hung->released.set_value();
  EXPECT_TRUE(observer.flush(std::chrono::minutes(5)));
  observer.finish(0);
}

TEST(Observer, AnErrorOfStartIsReturnedWithThePluginsId) {
  Logger log(true);
  auto bad = std::make_shared<Recorder>();
  bad->start_status = invalid("port 8000 is in use", "choose another");
  Observer observer({{"monitor/bad", "bad", bad}}, log);
  const Status status = observer.start({});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().where, "monitor/bad");
}

} // namespace
} // namespace conclave
