// Loader: the steps of a batch plan, built ahead of time.
//
// Threading: a Loader owns its worker threads and hands out steps in order to one consumer.
#pragma once

#include <cstdint>
#include <memory>

#include "conclave/status.hpp"
#include "data/batch_plan.hpp"

namespace conclave::data {

class Loader {
 public:
  virtual ~Loader() = default; ///< joins the workers
  /// The next step in order; blocks until it is there.
  virtual Result<HostStep> next() = 0;
};

/// Starts at batch `first` and keeps up to `ahead` steps ready or under way. workers = 0: steps are built in next().
std::unique_ptr<Loader> make_loader(std::shared_ptr<const BatchPlan> plan, std::int64_t first, int workers, int ahead);

} // namespace conclave::data
