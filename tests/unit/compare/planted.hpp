// Run directories with planted curves, as `conclave run` would leave them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "conclave/testkit.hpp"

namespace conclave::testing {

struct Planted {
  std::string name, seed = "1";
  std::int64_t steps = 40;      ///< that the experiment asks for
  std::int64_t reached = -1;    ///< that it did; -1: all
  int exit_code = 0;            ///< -1: no exit was written
  std::string data_order = "d"; ///< joined with the seed, as a plan's digest is
  double held_out = 3;          ///< at the last step; NaN: not evaluated
  double speed = 1000;          ///< tokens/s
  std::map<std::string, std::string> numerics = {}, speed_settings = {}; ///< beside seed and train.steps
  std::function<double(std::int64_t step)> nll = [](std::int64_t step) { return 8.0 / static_cast<double>(step); };
};

/// The folder of the run that was written.
std::filesystem::path plant(const testkit::TemporaryDir& root, const Planted& run);

} // namespace conclave::testing
