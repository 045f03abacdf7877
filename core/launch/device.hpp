// The device of this rank: CPU, or a GPU whose libraries are opened here and nowhere else.
//
// The host links torch_cpu alone. open_device() opens libtorch_cuda when a GPU is wanted, before anything asks torch about
// CUDA (torch caches a "no" for good), so one binary serves machines with and without a GPU.
#pragma once

#include <string>

#include "conclave/host.hpp"
#include "conclave/status.hpp"

namespace conclave {

enum class DeviceChoice { automatic, cpu, cuda };

struct OpenedDevice {
  Device device;
  std::string name;     ///< "cpu", or the GPU's name with its index
  std::string fallback; ///< why an automatic choice took the CPU although there is a driver; else ""
};

/// automatic: CUDA when the driver's device file and libtorch_cuda are there, else CPU. cuda without one of them is
/// Code::unsupported and says which is missing. `deterministic` restricts a GPU to kernels that give the same bits each
/// time, where ATen has them; an operator that has none fails when it is called. On the CPU there is nothing to restrict.
/// Call once, before any tensor is made.
Result<OpenedDevice> open_device(DeviceChoice choice, int local_rank, bool deterministic);

} // namespace conclave
