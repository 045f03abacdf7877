// Opens libtorch_cuda at run time and checks that a GPU answers.

#include "launch/device.hpp"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

namespace conclave {
namespace {

bool driver_present() {
  std::error_code ignored;
  return std::filesystem::exists("/dev/nvidiactl", ignored) || std::filesystem::exists("/dev/nvidia0", ignored) ||
         std::filesystem::exists("/dev/dxg", ignored);
}

/// The driver's name of a GPU, or "" when the driver does not say. The driver's library is open by now.
std::string gpu_name(int index) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return {};
  using GetName = int (*)(char* name, int size, int device);
  const auto get_name = reinterpret_cast<GetName>(dlsym(driver, "cuDeviceGetName"));
  char name[128] = "";
  if (get_name == nullptr || get_name(name, static_cast<int>(sizeof name), index) != 0) return {};
  return name;
}

void allow_deterministic_kernels_only() {
  // cuBLAS is deterministic with one fixed workspace a stream; it reads this once. A user's own value stays.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  at::Context& torch = at::globalContext();
  torch.setDeterministicAlgorithms(true, false);
  torch.setDeterministicCuDNN(true);
  torch.setBenchmarkCuDNN(false);
  torch.setDeterministicFillUninitializedMemory(false); // we read nothing that was not written
}

Result<OpenedDevice> open_gpu(int local_rank, bool deterministic) {
  if (!driver_present())
    return unsupported("no NVIDIA driver on this machine", "use --device cpu, or a machine with a GPU");
  // RTLD_GLOBAL: the CUDA half registers its kernels with the dispatcher of the already loaded CPU half.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* why = dlerror();
    return unsupported(std::string("libtorch_cuda.so cannot be opened: ") + (why != nullptr ? why : "no reason given"),
                       "run tools/bootstrap --cuda");
  }
  try {
    if (deterministic) allow_deterministic_kernels_only();
    const c10::DeviceIndex count = at::detail::getCUDAHooks().deviceCount();
    if (count == 0) return unsupported("the driver shows no GPU", "check nvidia-smi and CUDA_VISIBLE_DEVICES");
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    const int index = local_rank % count;
    c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA)
        .setDevice({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index)});
    const std::string place = "cuda:" + std::to_string(index), name = gpu_name(index);
    return OpenedDevice{{Device::Kind::cuda, index}, name.empty() ? place : name + " (" + place + ")", {}};
  } catch (const std::exception& e) {
    return unsupported(std::string("CUDA does not start: ") + e.what(),
                       "check the driver (CUDA 13 needs R580 or newer)");
  }
}

} // namespace

Result<OpenedDevice> open_device(DeviceChoice choice, int local_rank, bool deterministic) {
  OpenedDevice cpu{{Device::Kind::cpu, 0}, "cpu", {}};
  if (choice == DeviceChoice::cpu || (choice == DeviceChoice::automatic && !driver_present())) return cpu;
  auto gpu = open_gpu(local_rank, deterministic);
  if (gpu.ok() || choice == DeviceChoice::cuda) return gpu;
  cpu.fallback = gpu.error().render();
  return cpu;
}

} // namespace conclave
