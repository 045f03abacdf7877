// checkpoint/keep-last: save every so many steps, keep the newest few, and now and then one for good.
//
// Threading: stateless after construction.
#pragma once

#include "conclave/checkpoint_policy.hpp"
#include "conclave/host.hpp"

namespace conclave::keep_last {

struct Options {
  Count every = 1000;
  Count keep = 5;
  Count keep_every = 0;
};
OptionTable option_table();

class KeepLast final : public CheckpointPolicy {
 public:
  KeepLast(HostContext&, const Options& options) : options_(options) {}
  [[nodiscard]] bool due(std::int64_t step, std::int64_t total_steps) const override;
  [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const override;

 private:
  Options options_;
};

} // namespace conclave::keep_last
