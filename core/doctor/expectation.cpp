// The keys of an expectation.

#include "doctor/expectation.hpp"

#include "config/yaml_reader.hpp"

namespace conclave::doctor {

const OptionTable& expectation_table() {
  static const OptionTable table =
      OptionTableBuilder<Expectation>()
          .opt("gpus", &Expectation::gpus)
          .at_least(0)
          .doc("GPUs of a machine.")
          .opt("gpu_name", &Expectation::gpu_name)
          .doc("A part of each GPU's name, like `A100`.")
          .opt("gpu_memory", &Expectation::gpu_memory)
          .at_least(0)
          .doc("Memory of each GPU, as the driver gives it out: a card of 80 GB has 85.9GB of it or a little less.")
          .opt("gpu_copy_GBps", &Expectation::gpu_copy_GBps)
          .at_least(0)
          .doc("GB a second of copies within a GPU, read and write counted.")
          .opt("nvlink_GBps", &Expectation::nvlink_GBps)
          .at_least(0)
          .doc("GB a second of all active NVLinks of a GPU in one direction.")
          .opt("peer_GBps", &Expectation::peer_GBps)
          .at_least(0)
          .doc("GB a second of copies from one GPU to the next.")
          .opt("all_reduce_GBps", &Expectation::all_reduce_GBps)
          .at_least(0)
          .doc("Bus bandwidth of an all-reduce over all GPUs, in GB a second.")
          .opt("storage_free", &Expectation::storage_free)
          .at_least(0)
          .doc("Free space in the folder of `--storage`.")
          .opt("storage_write_MBps", &Expectation::storage_write_MBps)
          .at_least(0)
          .doc("MB a second written there and synced.")
          .opt("storage_read_MBps", &Expectation::storage_read_MBps)
          .at_least(0)
          .doc("MB a second read from there.")
          .opt("shared_memory", &Expectation::shared_memory)
          .at_least(0)
          .doc("Size of /dev/shm.")
          .opt("memory", &Expectation::memory)
          .at_least(0)
          .doc("Memory of the machine, or of its container.")
          .opt("cpus", &Expectation::cpus)
          .at_least(1)
          .doc("Processors that a process may use.")
          .opt("nofile", &Expectation::nofile)
          .at_least(1)
          .doc("Files that a process may have open.")
          .opt("clock_skew", &Expectation::clock_skew)
          .at_least(0)
          .doc("How far the clocks of two nodes may be apart; 1s where it is not said.")
          .build();
  return table;
}

std::optional<Expectation> read_expectation(const std::string& path, Diagnostics& diagnostics) {
  const std::size_t before = diagnostics.error_count();
  const auto tree = read_yaml(path, diagnostics);
  if (!tree) return std::nullopt;
  Expectation expectation;
  std::vector<ChildRequest> none;
  expectation_table().bind(*tree, {}, {}, &expectation, diagnostics, none);
  if (diagnostics.error_count() != before) return std::nullopt;
  return expectation;
}

} // namespace conclave::doctor
