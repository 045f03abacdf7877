// A bounded queue of calls and one thread.

#include "run/observer.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "plugin/guard.hpp"

namespace conclave {

namespace {
constexpr std::chrono::seconds patience{10}; // before a wait is told
constexpr std::chrono::seconds for_ever = std::chrono::hours(24 * 365);
} // namespace

struct Observer::Impl {
  using Call = std::function<Status(Monitor&)>;
  struct Task {
    const char* name;
    Call call;
  };

  std::vector<Watched> monitors;
  std::vector<bool> off;
  Logger& log;
  std::size_t capacity;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Task> tasks;
  std::uint64_t pushed = 0, done = 0; ///< tasks so far
  bool closing = false;               ///< the last task is queued
  std::string at_work;                ///< the call that a monitor is in: "monitor/x: step()"; "" between calls
  Status start_error;
  std::thread thread;

  Impl(std::vector<Watched> watched, Logger& logger, std::size_t limit)
      : monitors(std::move(watched)), off(monitors.size(), false), log(logger), capacity(limit) {
    thread = std::thread([this] { loop(); });
  }

  /// Waits for `ready` and says after a while whom for. False: it was not so after `limit`.
  template <class F>
  bool wait(std::unique_lock<std::mutex>& lock, F ready, std::chrono::seconds limit) {
    const auto first = std::min(limit, patience);
    if (changed.wait_for(lock, first, ready)) return true;
    const std::string whom = at_work;
    lock.unlock(); // the log has a lock of its own
    log.write(LogLevel::warning, {}, "waiting for a monitor that does not return: " + whom);
    lock.lock();
    return changed.wait_for(lock, limit - first, ready);
  }

  /// Does nothing once closed: the last call to a monitor is finish().
  void push(const char* name, Call call, bool last = false) {
    std::unique_lock lock(mutex);
    wait(
        lock, [this] { return tasks.size() < capacity || closing; }, for_ever);
    if (closing) return;
    closing = last;
    tasks.push_back({name, std::move(call)});
    ++pushed;
    changed.notify_all();
  }

  bool drain(std::chrono::seconds limit) {
    std::unique_lock lock(mutex);
    return wait(
        lock, [this, last = pushed] { return done >= last; }, limit);
  }

  void loop() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return !tasks.empty() || closing; });
      if (tasks.empty()) return;
      Task task = std::move(tasks.front());
      tasks.pop_front();
      lock.unlock();
      changed.notify_all();
      run(task);
      lock.lock();
      at_work.clear();
      ++done;
      changed.notify_all();
    }
  }

  void run(const Task& task) {
    const bool starting = std::string_view(task.name) == "start";
    for (std::size_t i = 0; i < monitors.size(); ++i) {
      if (off[i]) continue;
      {
        const std::lock_guard lock(mutex);
        at_work = monitors[i].id + ": " + task.name + "()";
      }
      const Status status = guard(monitors[i].id.c_str(), task.name, [&] { return task.call(*monitors[i].monitor); });
      if (status.ok()) continue;
      if (starting) {
        if (start_error.ok()) start_error = status;
        continue;
      }
      off[i] = true;
      log.write(
          LogLevel::warning, monitors[i].id,
          status.error().render() + " (during " + task.name + "; this monitor is switched off, training goes on)");
    }
  }
};

Observer::Observer(std::vector<Watched> monitors, Logger& log, std::size_t capacity)
    : impl_(std::make_unique<Impl>(std::move(monitors), log, capacity)) {}

Observer::~Observer() { finish(1); }

Status Observer::start(const RunInfo& run) {
  impl_->push("start", [run](Monitor& monitor) { return monitor.start(run); });
  impl_->drain(for_ever);
  return impl_->start_error;
}

void Observer::post(StepReport report) {
  impl_->push("step", [report = std::move(report)](Monitor& monitor) { return monitor.step(report); });
}

void Observer::post(EvaluationReport report) {
  impl_->push("evaluation", [report = std::move(report)](Monitor& monitor) { return monitor.evaluation(report); });
}

void Observer::checkpoint_committed(std::int64_t step, std::string path) {
  impl_->push("checkpoint",
              [step, path = std::move(path)](Monitor& monitor) { return monitor.checkpoint(step, path); });
}

void Observer::drain() { impl_->drain(for_ever); }

bool Observer::flush(std::chrono::seconds limit) {
  impl_->push("flush", [](Monitor& monitor) { return monitor.flush(); });
  return impl_->drain(limit);
}

void Observer::finish(int exit_code) {
  impl_->push(
      "finish", [exit_code](Monitor& monitor) { return monitor.finish(exit_code); }, /*last=*/true);
  if (impl_->thread.joinable()) impl_->thread.join();
}

} // namespace conclave
