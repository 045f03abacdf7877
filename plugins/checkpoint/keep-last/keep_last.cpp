// When to save and what may go.

#include "keep_last.hpp"

namespace conclave::keep_last {

OptionTable option_table() {
  return OptionTableBuilder<Options>()
      .opt("every", &Options::every)
      .at_least(1)
      .affects(Affects::io)
      .doc("Save after every so many steps. A run also saves at its end and when it is asked to stop.")
      .opt("keep", &Options::keep)
      .at_least(1)
      .affects(Affects::io)
      .doc("How many of the newest checkpoints stay. An old one goes only after a new one was written and read back.")
      .opt("keep_every", &Options::keep_every)
      .at_least(0)
      .affects(Affects::io)
      .doc("Checkpoints at multiples of this many steps stay for good and do not count towards `keep`; 0 = none.")
      .validate([](const Options& options, OptionReport& report) {
        if (options.keep_every.value > 0 && options.keep_every.value % options.every.value != 0)
          report.warning("keep_every", "it is no multiple of `every`, so some of its steps are never saved",
                         "make it a multiple of " + std::to_string(options.every.value));
        if (options.keep.value == 1)
          report.hint("keep", "with one checkpoint, damage on the disk costs the whole run", "keep at least 2");
      })
      .build();
}

bool KeepLast::due(std::int64_t step, std::int64_t) const { return step % options_.every.value == 0; }

std::vector<std::int64_t> KeepLast::retire(std::span<const CheckpointInfo> committed) const {
  std::vector<std::int64_t> leaving;
  std::int64_t kept = 0;
  for (auto info = committed.rbegin(); info != committed.rend(); ++info) {
    if (options_.keep_every.value > 0 && info->step % options_.keep_every.value == 0) continue;
    if (++kept > options_.keep.value) leaving.push_back(info->step);
  }
  return leaving;
}

} // namespace conclave::keep_last

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::keep_last::KeepLast, conclave::keep_last::Options>(
    {.id = "checkpoint/keep-last",
     .version = "1.0.0",
     .summary = "Saves every so many steps and keeps the newest few.",
     .licence = "MIT"},
    conclave::keep_last::option_table()))
