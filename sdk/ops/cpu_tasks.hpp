// Private: uneven independent tasks on all threads. Needs ATen/Parallel.h compiled with -fopenmp.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace conclave::ops::cpu {

/// Runs task(i) for every i in [0, count). Threads take the next one as they become free, so which thread runs a task is
/// not determined: a task must write only what no other task touches.
template <class Task>
void run_tasks(std::int64_t count, const Task& task) {
  std::atomic<std::int64_t> next{0};
  at::parallel_for(0, std::min<std::int64_t>(count, at::get_num_threads()), 1, [&](std::int64_t, std::int64_t) {
    for (std::int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) task(i);
  });
}

} // namespace conclave::ops::cpu
