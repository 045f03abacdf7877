// An optimizer that multiplies by the gate instead of selecting: 0 * inf is not a number.
#include "conclave/optimizer.hpp"
using namespace conclave;
namespace {
struct Options {
  double lr = 0.1;
};
class Deaf final : public Optimizer {
 public:
  Deaf(HostContext&, const Options& options) : options_(options) {}
  [[nodiscard]] OptimizerTraits traits() const override { return {}; }
  [[nodiscard]] double peak_learning_rate() const override { return options_.lr; }
  void step(std::span<Segment> segments, const UpdateScalars& scalars) override {
    for (Segment& s : segments)
      s.master.sub_(s.gradient.mul(scalars.gate->gradient_scale).mul(scalars.learning_rate).mul(scalars.gate->apply));
  }

 private:
  Options options_;
};
} // namespace
CONCLAVE_PLUGINS(
    describe_plugin<Deaf, Options>({"optimizer/deaf", "1.0.0", 1, "An optimizer for tests of the host.", "Apache-2.0"},
                                   OptionTableBuilder<Options>().opt("lr", &Options::lr).doc("Rate.").build()))
