// What the machine at hand reaches, measured for a machine file.
//
// What this is: products at several sizes, experts, attention, copies, the host's own time, and an all-reduce between
// ranks, each the median of some rounds through the operators that training takes; half a minute on a GPU. What this is
// not: a benchmark beside peers (tools/bench), or a measure of a GPU that has grown hot.
//
// Threading: the main thread; collective where there is a group.
#pragma once

#include "conclave/parallel/group.hpp"
#include "launch/device.hpp"
#include "plan/machine.hpp"

namespace conclave::plan {

/// Rates of operators, memory and host; `peak` is the best product, since nobody knows the maker's figure here. bf16 and
/// fp16 on a GPU, bf16 and fp32 on the CPU. Memory that does not suffice throws as ATen does.
Machine measure_device(const OpenedDevice& opened);

/// From all-reduces of a small and of a large tensor over ranks that a node holds all of, or one each.
LinkRates measure_link(Group& group, const Device& device);

/// A machine file's text, with what is not measured left out.
std::string machine_text(const Machine& machine);

} // namespace conclave::plan
