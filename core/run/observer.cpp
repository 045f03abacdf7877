// A bounded queue of calls and one thread.

#include "run/observer.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "plugin/guard.hpp"

namespace conclave {

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
  bool closing = false, finished = false;
  Status start_error;
  std::thread thread;

  Impl(std::vector<Watched> watched, Logger& logger, std::size_t limit)
      : monitors(std::move(watched)), off(monitors.size(), false), log(logger), capacity(limit) {
    thread = std::thread([this] { loop(); });
  }

  void push(const char* name, Call call) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return tasks.size() < capacity; });
    tasks.push_back({name, std::move(call)});
    ++pushed;
    changed.notify_all();
  }

  void drain() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this, last = pushed] { return done >= last; });
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
      ++done;
      changed.notify_all();
    }
  }

  void run(const Task& task) {
    const bool starting = std::string_view(task.name) == "start";
    for (std::size_t i = 0; i < monitors.size(); ++i) {
      if (off[i]) continue;
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
  impl_->drain();
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

void Observer::drain() { impl_->drain(); }

void Observer::flush() {
  impl_->push("flush", [](Monitor& monitor) { return monitor.flush(); });
  impl_->drain();
}

void Observer::finish(int exit_code) {
  if (impl_->finished) return;
  impl_->finished = true;
  impl_->push("finish", [exit_code](Monitor& monitor) { return monitor.finish(exit_code); });
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
  }
  impl_->changed.notify_all();
  impl_->thread.join();
}

} // namespace conclave
