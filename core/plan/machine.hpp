// Machine: how fast the GPUs, nodes and links are that a run is planned for, from a YAML file.
//
// Rates are what programs reach, not what is printed on the box: `plan --calibrate` measures them, and the files in
// experiments/machines say where theirs come from. Only `peak` is the maker's figure, which MFU is a share of.
#pragma once

#include <optional>
#include <string>

#include "config/experiment.hpp"
#include "plan/quantities.hpp"

namespace conclave::plan {

/// Of operators in one compute type.
struct TypeRates {
  FlopRate peak;
  RateCurve product;            ///< by the operations of one product
  RateCurve grouped_product;    ///< of all groups together
  RateCurve attention;          ///< causal: masked scores are not counted
  RateCurve attention_backward; ///< 2.5 times the operations of the forward pass

  [[nodiscard]] bool known() const noexcept { return peak.value > 0; }
};

struct LinkRates {
  ByteRate bandwidth; ///< of one GPU in one direction, as large collectives reach it ("bus bandwidth")
  Latency latency;    ///< of one hop in a collective
};

struct Machine {
  std::string name;
  Bytes gpu_memory = 0;
  int gpus_per_node = 1;
  ByteRate memory_bandwidth; ///< of a copy, read and write counted
  Latency kernel;            ///< from one kernel's end to where the next one is at its speed
  Latency host_operator;     ///< of the host, to enqueue an operator where no graph does
  Latency host_wait;         ///< what a wait of the host for the GPU leaves idle
  LinkRates within_node, between_nodes;
  TypeRates bf16, fp16, fp32;

  /// Of that type; one that is not known where the file says nothing of it.
  [[nodiscard]] const TypeRates& rates(Compute compute) const noexcept;
};

const OptionTable& machine_table();

/// Nothing after an error, which names the place in the file.
std::optional<Machine> read_machine(const std::string& path, Diagnostics& diagnostics);

} // namespace conclave::plan
