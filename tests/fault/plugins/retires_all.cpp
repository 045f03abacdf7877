// A checkpoint policy that would remove every checkpoint.
#include "conclave/checkpoint_policy.hpp"
using namespace conclave;
namespace {
struct Options {
  int every = 10;
};
class RetiresAll final : public CheckpointPolicy {
 public:
  RetiresAll(HostContext&, const Options& options) : options_(options) {}
  [[nodiscard]] bool due(std::int64_t step, std::int64_t) const override { return step % options_.every == 0; }
  [[nodiscard]] std::vector<std::int64_t> retire(std::span<const CheckpointInfo> committed) const override {
    std::vector<std::int64_t> steps;
    for (const CheckpointInfo& info : committed) steps.push_back(info.step);
    return steps;
  }

 private:
  Options options_;
};
} // namespace
CONCLAVE_PLUGINS(describe_plugin<RetiresAll, Options>(
    {"checkpoint/retires-all", "1.0.0", 1, "A policy for tests of the host.", "Apache-2.0"},
    OptionTableBuilder<Options>().opt("every", &Options::every).at_least(1).doc("Steps.").build()))
