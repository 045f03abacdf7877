// The calls, as NVML's reference describes them.

#include "doctor/nvml.hpp"

#include <dlfcn.h>

#include <array>
#include <utility>

namespace conclave::doctor {
// A named namespace, since a class with linkage holds them.
namespace nvml_abi {

using Answer = int;                   // nvmlReturn_t
constexpr Answer success = 0;         // NVML_SUCCESS
using Handle = struct nvmlDevice_st*; // nvmlDevice_t

constexpr int sm_clock = 1;          // NVML_CLOCK_SM
constexpr int chip_sensor = 0;       // NVML_TEMPERATURE_GPU
constexpr int uncorrected = 1;       // NVML_MEMORY_ERROR_TYPE_UNCORRECTED
constexpr int since_driver_load = 0; // NVML_VOLATILE_ECC
constexpr unsigned most_links = 18;  // NVML_NVLINK_MAX_LINKS
constexpr int recovery_errors = 1;   // NVML_NVLINK_ERROR_DL_RECOVERY: the link had to start again
// MB/s of one link, its number as the scope (NVML_FI_DEV_NVLINK_GET_SPEED); before Hopper, of each link that is up
// (NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON).
constexpr unsigned link_speed_field = 164, common_speed_field = 90;

struct MemoryInfo { // nvmlMemory_t, bytes
  unsigned long long total, free, used;
};

struct FieldValue { // nvmlFieldValue_t
  unsigned field, scope;
  long long timestamp, latency;
  int type; // of `value`
  Answer answer;
  union {
    double real;
    unsigned number;
    unsigned long long large;
  } value;
};
static_assert(sizeof(FieldValue) == 40);

} // namespace nvml_abi

using namespace nvml_abi;

struct Nvml::Calls {
  void* library = nullptr;
  Answer (*init)() = nullptr;
  Answer (*shutdown)() = nullptr;
  const char* (*error_text)(Answer) = nullptr;
  Answer (*driver_version)(char* text, unsigned size) = nullptr;
  Answer (*driver_cuda)(int* version) = nullptr;
  Answer (*count)(unsigned* gpus) = nullptr;
  Answer (*handle)(unsigned index, Handle*) = nullptr;
  Answer (*name)(Handle, char* text, unsigned size) = nullptr;
  Answer (*memory)(Handle, MemoryInfo*) = nullptr;
  // May be missing in a driver, or not supported by a GPU:
  Answer (*ecc)(Handle, int* now, int* after_reset) = nullptr;
  Answer (*ecc_errors)(Handle, int type, int counter, unsigned long long* errors) = nullptr;
  Answer (*retirement_pending)(Handle, int* pending) = nullptr;
  Answer (*remapped_rows)(Handle, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                          unsigned* failed) = nullptr;
  Answer (*clock)(Handle, int type, unsigned* megahertz) = nullptr;
  Answer (*clock_most)(Handle, int type, unsigned* megahertz) = nullptr;
  Answer (*slowdowns)(Handle, unsigned long long* reasons) = nullptr;
  Answer (*temperature)(Handle, int sensor, unsigned* degrees) = nullptr;
  Answer (*link_on)(Handle, unsigned link, int* on) = nullptr;
  Answer (*link_errors)(Handle, unsigned link, int counter, unsigned long long* errors) = nullptr;
  Answer (*fields)(Handle, int count, FieldValue*) = nullptr;

  template <class F>
  bool find(F& function, const char* name) {
    function = reinterpret_cast<F>(dlsym(library, name));
    return function != nullptr;
  }

  bool find_all() {
    find(ecc, "nvmlDeviceGetEccMode");
    find(ecc_errors, "nvmlDeviceGetTotalEccErrors");
    find(retirement_pending, "nvmlDeviceGetRetiredPagesPendingStatus");
    find(remapped_rows, "nvmlDeviceGetRemappedRows");
    find(clock, "nvmlDeviceGetClockInfo");
    find(clock_most, "nvmlDeviceGetMaxClockInfo");
    find(slowdowns, "nvmlDeviceGetCurrentClocksThrottleReasons");
    find(temperature, "nvmlDeviceGetTemperature");
    find(link_on, "nvmlDeviceGetNvLinkState");
    find(link_errors, "nvmlDeviceGetNvLinkErrorCounter");
    find(fields, "nvmlDeviceGetFieldValues");
    return find(init, "nvmlInit_v2") && find(shutdown, "nvmlShutdown") && find(error_text, "nvmlErrorString") &&
           find(driver_version, "nvmlSystemGetDriverVersion") &&
           find(driver_cuda, "nvmlSystemGetCudaDriverVersion_v2") && find(count, "nvmlDeviceGetCount_v2") &&
           find(handle, "nvmlDeviceGetHandleByIndex_v2") && find(name, "nvmlDeviceGetName") &&
           find(memory, "nvmlDeviceGetMemoryInfo");
  }

  void read_health(Handle device, Gpu& gpu) const {
    int now = 0, after = 0;
    if (ecc != nullptr && ecc(device, &now, &after) == success) gpu.ecc = now != 0;
    unsigned long long errors = 0;
    if (ecc_errors != nullptr && ecc_errors(device, uncorrected, since_driver_load, &errors) == success)
      gpu.uncorrected = errors;
    if (retirement_pending != nullptr && retirement_pending(device, &now) == success) gpu.retirement_pending = now != 0;
    unsigned corrected = 0, uncorrected_rows = 0, pending = 0, failed = 0;
    if (remapped_rows != nullptr &&
        remapped_rows(device, &corrected, &uncorrected_rows, &pending, &failed) == success) {
      gpu.remap_pending = pending != 0;
      gpu.remap_failed = failed != 0;
    }
  }

  void read_clocks(Handle device, Gpu& gpu) const {
    unsigned value = 0;
    if (clock != nullptr && clock(device, sm_clock, &value) == success) gpu.clock = value;
    if (clock_most != nullptr && clock_most(device, sm_clock, &value) == success) gpu.clock_most = value;
    if (temperature != nullptr && temperature(device, chip_sensor, &value) == success) gpu.temperature = value;
    unsigned long long reasons = 0;
    if (slowdowns != nullptr && slowdowns(device, &reasons) == success) gpu.slowdowns = reasons;
  }

  /// MB/s; 0: it does not say.
  [[nodiscard]] unsigned link_speed(Handle device, unsigned link) const {
    for (const unsigned field : {link_speed_field, common_speed_field}) {
      FieldValue speed{};
      speed.field = field;
      speed.scope = field == link_speed_field ? link : 0;
      if (fields != nullptr && fields(device, 1, &speed) == success && speed.answer == success)
        return speed.value.number;
    }
    return 0;
  }

  void read_links(Handle device, Gpu& gpu) const {
    for (unsigned link = 0; link_on != nullptr && link < most_links; ++link) {
      int on = 0;
      if (link_on(device, link, &on) != success) break; // it has no more
      ++(on != 0 ? gpu.links_on : gpu.links_off);
      if (on == 0) continue;
      gpu.link_rate += link_speed(device, link) * 1e6;
      unsigned long long errors = 0;
      if (link_errors != nullptr && link_errors(device, link, recovery_errors, &errors) == success)
        gpu.link_errors += errors;
    }
  }
};

Nvml::Nvml(std::unique_ptr<Calls> calls) : calls_(std::move(calls)) {}

Nvml::~Nvml() { calls_->shutdown(); }

Result<std::unique_ptr<Nvml>> Nvml::open(const std::string& library) {
  auto calls = std::make_unique<Calls>();
  calls->library = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (calls->library == nullptr || !calls->find_all()) {
    const char* why = dlerror();
    return unsupported(why != nullptr ? why : library + " cannot be opened", "install the driver's libraries");
  }
  if (const Answer answer = calls->init(); answer != success)
    return unsupported("NVML does not start: " + std::string(calls->error_text(answer)),
                       "`nvidia-smi` should say the same; load the driver, or reset the GPU");
  return std::unique_ptr<Nvml>(new Nvml(std::move(calls)));
}

std::string Nvml::driver_version() const {
  std::array<char, 96> text{}; // NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE is 80
  return calls_->driver_version(text.data(), static_cast<unsigned>(text.size())) == success ? text.data() : "";
}

int Nvml::driver_cuda() const {
  int version = 0;
  return calls_->driver_cuda(&version) == success ? version : 0;
}

Result<std::vector<Gpu>> Nvml::gpus() const {
  unsigned count = 0;
  if (const Answer answer = calls_->count(&count); answer != success)
    return unsupported("GPUs cannot be counted: " + std::string(calls_->error_text(answer)));
  std::vector<Gpu> found;
  for (unsigned index = 0; index < count; ++index) {
    Handle device = nullptr;
    std::array<char, 96> name{}; // NVML_DEVICE_NAME_V2_BUFFER_SIZE
    MemoryInfo memory{};
    Answer answer = calls_->handle(index, &device);
    if (answer == success) answer = calls_->name(device, name.data(), static_cast<unsigned>(name.size()));
    if (answer == success) answer = calls_->memory(device, &memory);
    if (answer != success)
      return unsupported("GPU " + std::to_string(index) + " of " + std::to_string(count) +
                         " does not answer: " + calls_->error_text(answer));
    Gpu& gpu = found.emplace_back();
    gpu.name = name.data();
    gpu.memory = static_cast<std::int64_t>(memory.total);
    gpu.memory_free = static_cast<std::int64_t>(memory.free);
    calls_->read_health(device, gpu);
    calls_->read_clocks(device, gpu);
    calls_->read_links(device, gpu);
  }
  return found;
}

} // namespace conclave::doctor
