// What the GPU benchmarks share: the device, clocks, ceilings, and how a figure is said.
//
// What this is: for programs of this folder, which end when something fails. What this is not: a library with errors as values.
//
// Threading: the main thread.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "launch/device.hpp"

namespace conclave::bench {

/// Prints the error and ends the program with its exit code.
[[noreturn]] void fail(const Error& error);
void need(const Status& status);
template <class T>
T need(Result<T> result) {
  if (!result.ok()) fail(result.error());
  return std::move(result).value();
}

/// Opens the GPU and prints `gpu NAME`; without one the program ends with 3.
Device open_gpu();

/// Runs `body` and ends the program with 0, or with 1 and one line about the exception; without the driver's tear-down, whose
/// order is not what is measured.
[[noreturn]] void run_and_exit(const std::function<void()>& body);

/// Prints `figure NAME = VALUE UNIT (n=N)`, which tools/bench/gpu reads: a median of n measurements.
void figure(const std::string& name, double value, const std::string& unit, int n);

double median(std::vector<double> values);

/// Median seconds of one call of `body` by the GPU's clock. A measurement is `calls` calls in a row, so that the GPU does not
/// wait for the host between short ones; there are `repeat` after 2.
double gpu_seconds(int repeat, int calls, const std::function<void()>& body);
/// The same of several, which take turns: what they are compared with then ran as warm as they did, on a GPU that lowers its clocks
/// when it is.
std::vector<double> gpu_seconds_in_turn(int repeat, int calls, const std::vector<std::function<void()>>& bodies);
/// Median seconds that the host is in `body`, which starts with an idle GPU and is not waited for.
double host_seconds(int repeat, const std::function<void()>& body);

/// The best bf16 product of a few sizes and layouts, FLOP/s: more of them than a profile has time for.
double matmul_ceiling(int repeat);
/// A copy of 2 GiB, bytes a second, read and written.
double copy_bandwidth(int repeat);

/// The most bytes that torch's allocator gave out since forget_peak(), and those that are given out now.
std::int64_t peak_bytes();
std::int64_t bytes_in_use();
void forget_peak();

/// The shape `name` of a file as gpu_shapes.json: {"model": options of model/moe-transformer, "vocabulary", "batch", "length"}.
nlohmann::json read_shape(const std::string& file, const std::string& name);

} // namespace conclave::bench
