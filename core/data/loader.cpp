// The loader: worker threads build steps ahead of the one that reads them, in a bounded window.

#include "data/loader.hpp"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

namespace conclave::data {
namespace {

Result<HostStep> build_step(const BatchPlan& plan, std::int64_t index) {
  try {
    return plan.build(index);
  } catch (const std::exception& error) { // of the standard library: no memory, above all
    return internal_error("building batch " + std::to_string(index) + ": " + error.what());
  }
}

class ThreadedLoader final : public Loader {
 public:
  ThreadedLoader(std::shared_ptr<const BatchPlan> plan, std::int64_t first, int workers, int ahead)
      : plan_(std::move(plan)), next_(first), claimed_(first), ahead_(std::max(ahead, 1)) {
    for (int w = 0; w < std::min(workers, ahead_); ++w)
      threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }

  Result<HostStep> next() override {
    if (threads_.empty()) return build_step(*plan_, next_++);
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return built_.contains(next_); });
    auto found = built_.find(next_);
    Result<HostStep> step = std::move(found->second);
    built_.erase(found);
    ++next_;
    lock.unlock();
    room_.notify_one();
    return step;
  }

 private:
  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (room_.wait(lock, stop, [this] { return claimed_ < next_ + ahead_; })) {
      const std::int64_t index = claimed_++;
      lock.unlock();
      Result<HostStep> step = build_step(*plan_, index);
      lock.lock();
      built_.emplace(index, std::move(step));
      if (index == next_) ready_.notify_one();
      if (stop.stop_requested()) return;
    }
  }

  std::shared_ptr<const BatchPlan> plan_;
  std::mutex mutex_;
  std::condition_variable_any room_;
  std::condition_variable ready_;
  std::map<std::int64_t, Result<HostStep>> built_;
  std::int64_t next_;    ///< what next() gives
  std::int64_t claimed_; ///< what a worker builds next: at most next_ + ahead_
  int ahead_;
  std::vector<std::jthread> threads_; ///< last: joined before anything they use goes
};

} // namespace

std::unique_ptr<Loader> make_loader(std::shared_ptr<const BatchPlan> plan, std::int64_t first, int workers, int ahead) {
  return std::make_unique<ThreadedLoader>(std::move(plan), first, workers, ahead);
}

} // namespace conclave::data
