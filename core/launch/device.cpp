// Opens libtorch_cuda at run time and checks that a GPU answers.

#include "launch/device.hpp"

#include <ATen/Context.h>
#include <dlfcn.h>

#include <filesystem>

namespace conclave {
namespace {

bool driver_present() {
  std::error_code ignored;
  return std::filesystem::exists("/dev/nvidiactl", ignored) || std::filesystem::exists("/dev/nvidia0", ignored) ||
         std::filesystem::exists("/dev/dxg", ignored);
}

} // namespace

Result<OpenedDevice> open_device(DeviceChoice choice, int local_rank) {
  const OpenedDevice cpu{{Device::Kind::cpu, 0}, "cpu"};
  if (choice == DeviceChoice::cpu) return cpu;
  if (!driver_present()) {
    if (choice == DeviceChoice::automatic) return cpu;
    return unsupported("no NVIDIA driver on this machine", "use --device cpu, or a machine with a GPU");
  }
  // RTLD_GLOBAL: the CUDA half registers its kernels with the dispatcher of the already loaded CPU half.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* why = dlerror();
    if (choice == DeviceChoice::automatic) return cpu;
    return unsupported(std::string("libtorch_cuda.so cannot be opened: ") + (why != nullptr ? why : "no reason given"),
                       "run tools/bootstrap --cuda");
  }
  try {
    const auto& hooks = at::detail::getCUDAHooks();
    const int count = static_cast<int>(hooks.deviceCount());
    if (count == 0) {
      if (choice == DeviceChoice::automatic) return cpu;
      return unsupported("the driver shows no GPU", "check nvidia-smi and CUDA_VISIBLE_DEVICES");
    }
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    const int index = local_rank % count;
    return OpenedDevice{{Device::Kind::cuda, index}, "cuda:" + std::to_string(index)};
  } catch (const std::exception& e) {
    if (choice == DeviceChoice::automatic) return cpu;
    return unsupported(std::string("CUDA does not start: ") + e.what(),
                       "check the driver (CUDA 13 needs R580 or newer)");
  }
}

} // namespace conclave
