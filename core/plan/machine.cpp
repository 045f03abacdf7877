// The keys of a machine file.

#include "plan/machine.hpp"

#include "config/yaml_reader.hpp"

namespace conclave::plan {
namespace {

OptionTable type_table() {
  return OptionTableBuilder<TypeRates>()
      .opt("peak", &TypeRates::peak)
      .required()
      .doc("The maker's figure for dense products; MFU is a share of it.")
      .opt("product", &TypeRates::product)
      .required()
      .doc("Rate of a product by its operations, or one for all.")
      .opt("grouped_product", &TypeRates::grouped_product)
      .doc("The same for the experts' grouped products; as `product` where it is not said.")
      .opt("attention", &TypeRates::attention)
      .required()
      .doc("Causal attention, forward; masked scores are not counted.")
      .opt("attention_backward", &TypeRates::attention_backward)
      .required()
      .doc("Its backward pass, which has 2.5 times the operations.")
      .build();
}

OptionTable link_table() {
  return OptionTableBuilder<LinkRates>()
      .opt("bandwidth", &LinkRates::bandwidth)
      .required()
      .doc("Of one GPU in one direction, as large collectives reach it.")
      .opt("latency", &LinkRates::latency)
      .required()
      .doc("Of one hop in a collective.")
      .build();
}

void check(const Machine& machine, OptionReport& report) {
  if (!machine.bf16.known() && !machine.fp16.known() && !machine.fp32.known())
    report.error("bf16", "no compute type has rates", "give those of bf16, fp16 or fp32");
  if (machine.gpus_per_node > 1 && machine.within_node.bandwidth.value == 0)
    report.error("within_node", "missing, and a node has " + std::to_string(machine.gpus_per_node) + " GPUs",
                 "give bandwidth and latency of the links between them");
}

/// What may be left out, filled in.
void complete(TypeRates& rates) {
  if (rates.known() && rates.grouped_product.points().empty()) rates.grouped_product = rates.product;
}

} // namespace

const TypeRates& Machine::rates(Compute compute) const noexcept {
  static const TypeRates none;
  switch (compute) {
    case Compute::bf16: return bf16;
    case Compute::fp16: return fp16;
    case Compute::fp32: return fp32;
    case Compute::fp64: break;
  }
  return none;
}

const OptionTable& machine_table() {
  static const OptionTable table =
      OptionTableBuilder<Machine>()
          .opt("name", &Machine::name)
          .required()
          .doc("What tables call it.")
          .opt("gpu_memory", &Machine::gpu_memory)
          .above(0)
          .required()
          .doc("Memory of a GPU, as the driver gives it out.")
          .opt("gpus_per_node", &Machine::gpus_per_node)
          .at_least(1)
          .doc("Neighbouring ranks fill a node.")
          .opt("memory_bandwidth", &Machine::memory_bandwidth)
          .required()
          .doc("Of a large copy, read and write counted.")
          .opt("kernel", &Machine::kernel)
          .required()
          .doc("From one kernel's end to where the next one is at its speed.")
          .opt("host_operator", &Machine::host_operator)
          .required()
          .doc("What the host takes to enqueue an operator, where no CUDA graph does.")
          .opt("host_wait", &Machine::host_wait)
          .required()
          .doc("What a wait of the host for the GPU leaves idle.")
          .group("within_node", &Machine::within_node, link_table())
          .doc("Links between the GPUs of a node.")
          .group("between_nodes", &Machine::between_nodes, link_table())
          .doc("Links between nodes, shared evenly by the GPUs of each. Left out: there is one node.")
          .group("bf16", &Machine::bf16, type_table())
          .doc("Rates of operators in that type.")
          .group("fp16", &Machine::fp16, type_table())
          .doc("Rates of operators in that type.")
          .group("fp32", &Machine::fp32, type_table())
          .doc("Rates of operators in that type.")
          .validate(check)
          .build();
  return table;
}

std::optional<Machine> read_machine(const std::string& path, Diagnostics& diagnostics) {
  const std::size_t before = diagnostics.error_count();
  const auto tree = read_yaml(path, diagnostics);
  if (!tree) return std::nullopt;
  Machine machine;
  std::vector<ChildRequest> none;
  machine_table().bind(*tree, {}, {}, &machine, diagnostics, none);
  if (diagnostics.error_count() != before) return std::nullopt;
  for (TypeRates* rates : {&machine.bf16, &machine.fp16, &machine.fp32}) complete(*rates);
  return machine;
}

} // namespace conclave::plan
