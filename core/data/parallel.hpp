// ordered_parallel(): work on many threads whose results are used in order on the calling thread.
//
// What this is: how every stage uses `workers` threads and still writes the same bytes for any number of them: an item's
// result depends on the item alone, and results are consumed by ascending index. Memory is bounded: at most
// 2 * workers + 2 results wait. What this is not: a task graph or a thread pool that outlives the call.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "conclave/status.hpp"

namespace conclave::data {

inline Error stopped_error() {
  return {Code::stopped, "", "stopped while preparing the data", "run it again: finished stages are kept"};
}

namespace detail {

/// Code of the room itself throws at most bad_alloc and the like; plugins are called through guard().
template <class T, class F>
Result<T> call_without_throwing(F&& body) {
  try {
    return std::forward<F>(body)();
  } catch (const std::exception& error) {
    return internal_error(error.what());
  } catch (...) {
    return internal_error("an exception of an unknown type while preparing the data");
  }
}

} // namespace detail

/// produce(index, worker) -> Result<T> runs on `workers` threads, worker in [0, workers); consume(index, T&&) -> Status
/// runs on the calling thread for index 0, 1, ... in order; the first error in that order ends the whole. `tick` is called
/// now and then on the calling thread. With one worker and no tick everything runs on the calling thread.
template <class T, class Produce, class Consume>
Status ordered_parallel(int workers, std::int64_t items, const std::stop_token& stop, Produce produce, Consume consume,
                        const std::function<void()>& tick = {}) {
  workers = static_cast<int>(std::clamp<std::int64_t>(workers, 1, std::max<std::int64_t>(items, 1)));
  if (workers == 1 && !tick) {
    for (std::int64_t i = 0; i < items; ++i) {
      if (stop.stop_requested()) return stopped_error();
      auto made = detail::call_without_throwing<T>([&] { return produce(i, 0); });
      if (!made.ok()) return made.error();
      CONCLAVE_RETURN_IF_ERROR(consume(i, std::move(made).value()));
    }
    return {};
  }

  std::mutex mutex;
  std::condition_variable room, ready;
  std::map<std::int64_t, Result<T>> waiting;
  std::int64_t next = 0, consumed = 0;
  bool cancelled = false;
  const std::int64_t window = 2 * workers + 2;

  const auto work = [&](int worker) {
    std::unique_lock lock(mutex);
    while (true) {
      room.wait(lock, [&] { return cancelled || next >= items || next < consumed + window; });
      if (cancelled || next >= items) return;
      const std::int64_t mine = next++;
      lock.unlock();
      auto made = detail::call_without_throwing<T>([&] { return produce(mine, worker); });
      lock.lock();
      waiting.emplace(mine, std::move(made));
      ready.notify_one();
    }
  };
  const auto drain = [&]() -> Status {
    for (std::int64_t i = 0; i < items; ++i) {
      std::optional<Result<T>> made;
      while (!made) {
        if (stop.stop_requested()) return stopped_error();
        {
          std::unique_lock lock(mutex);
          ready.wait_for(lock, std::chrono::milliseconds(100), [&] { return waiting.contains(i); });
          if (auto found = waiting.find(i); found != waiting.end()) {
            made.emplace(std::move(found->second));
            waiting.erase(found);
            consumed = i + 1;
          }
        }
        if (tick) tick();
      }
      room.notify_all();
      if (!made->ok()) return made->error();
      CONCLAVE_RETURN_IF_ERROR(consume(i, std::move(*made).value()));
    }
    return {};
  };

  std::vector<std::jthread> threads;
  const auto drained = detail::call_without_throwing<bool>([&]() -> Result<bool> {
    for (int w = 0; w < workers; ++w) threads.emplace_back(work, w); // may throw: those that run must be told below
    CONCLAVE_RETURN_IF_ERROR(drain());
    return true;
  });
  {
    const std::lock_guard lock(mutex);
    cancelled = true;
  }
  room.notify_all();
  return drained.status(); // the jthreads join first
}

} // namespace conclave::data
