// @ID@: saves every so many steps and keeps the last few, as a start. Say here what yours is and is not.

#include "conclave/checkpoint_policy.hpp"

namespace {

struct Options {
  conclave::Count every = 1000;
  int keep = 3;
};

conclave::OptionTable table() {
  return conclave::OptionTableBuilder<Options>()
      .opt("every", &Options::every)
      .at_least(1)
      .affects(conclave::Affects::io)
      .doc("Steps between two checkpoints.")
      .opt("keep", &Options::keep)
      .at_least(1)
      .affects(conclave::Affects::io)
      .doc("Checkpoints that stay; older ones are removed.")
      .build();
}

/// Answers depend on the arguments and options alone: every rank asks and must hear the same.
class @CLASS@ final : public conclave::CheckpointPolicy {
 public:
  @CLASS@(conclave::HostContext&, const Options& options) : options_(options) {}

  [[nodiscard]] bool due(std::int64_t step, std::int64_t total_steps) const override {
    (void)total_steps; // the host saves at the end by itself
    return step % options_.every.value == 0;
  }

  [[nodiscard]] std::vector<std::int64_t> retire(std::span<const conclave::CheckpointInfo> committed) const override {
    std::vector<std::int64_t> steps;
    const auto keep = static_cast<std::size_t>(options_.keep);
    for (std::size_t i = 0; i + keep < committed.size(); ++i) steps.push_back(committed[i].step);
    return steps;
  }

 private:
  Options options_;
};

} // namespace

CONCLAVE_PLUGINS(conclave::describe_plugin<@CLASS@, Options>(
    {.id = "@ID@", .version = "0.1.0", .output_revision = 1, .summary = "Saves every so many steps, keeps the last few.", .licence = "MIT"},
    table()))
