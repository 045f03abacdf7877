// Two GPUs with the interface of NVML. FAKE_NVML_FAULT in the environment: "init", "lost" (GPU 1 does not answer), "ecc"
// (GPU 1 has memory errors and waits for a remap), "crash" and "loop" (in the first call).

#include <cstdlib>
#include <cstring>
#include <string>

namespace {

// Handles are numbers that are no address.
using Handle = char*;
unsigned index_of(Handle handle) { return static_cast<unsigned>(handle - static_cast<Handle>(nullptr)) - 1; }

bool fault(const char* name) {
  const char* wanted = std::getenv("FAKE_NVML_FAULT");
  return wanted != nullptr && std::string(wanted) == name;
}

constexpr int not_supported = 3, lost = 15, not_loaded = 9;

struct Field {
  unsigned field, scope;
  long long time, latency;
  int type, answer;
  unsigned long long value;
};

} // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int nvmlInit_v2() {
  if (fault("crash")) std::abort();
  volatile bool forever = fault("loop");
  while (forever) {
  }
  return fault("init") ? not_loaded : 0;
}
EXPORT int nvmlShutdown() { return 0; }
EXPORT const char* nvmlErrorString(int answer) { return answer == lost ? "GPU is lost" : "Driver Not Loaded"; }
EXPORT int nvmlSystemGetDriverVersion(char* text, unsigned size) {
  std::strncpy(text, "580.65.06", size);
  return 0;
}
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  *version = 13000;
  return 0;
}
EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = 2;
  return 0;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle* handle) {
  *handle = static_cast<Handle>(nullptr) + index + 1;
  return fault("lost") && index == 1 ? lost : 0;
}
EXPORT int nvmlDeviceGetName(Handle, char* text, unsigned size) {
  std::strncpy(text, "NVIDIA Fake 80GB", size);
  return 0;
}
EXPORT int nvmlDeviceGetMemoryInfo(Handle, unsigned long long* total_free_used) {
  total_free_used[0] = 85'000'000'000;
  total_free_used[1] = 84'000'000'000;
  total_free_used[2] = 1'000'000'000;
  return 0;
}
EXPORT int nvmlDeviceGetEccMode(Handle, int* now, int* after) {
  *now = *after = 1;
  return 0;
}
EXPORT int nvmlDeviceGetTotalEccErrors(Handle handle, int type, int counter, unsigned long long* errors) {
  *errors = type == 1 && counter == 0 && fault("ecc") && index_of(handle) == 1 ? 2 : 0;
  return 0;
}
EXPORT int nvmlDeviceGetRetiredPagesPendingStatus(Handle, int*) { return not_supported; }
EXPORT int nvmlDeviceGetRemappedRows(Handle handle, unsigned* corrected, unsigned* uncorrected, unsigned* pending,
                                     unsigned* failed) {
  *corrected = *uncorrected = *failed = 0;
  *pending = fault("ecc") && index_of(handle) == 1 ? 1 : 0;
  return 0;
}
EXPORT int nvmlDeviceGetClockInfo(Handle, int type, unsigned* megahertz) {
  *megahertz = type == 1 ? 1200 : 9999;
  return 0;
}
EXPORT int nvmlDeviceGetMaxClockInfo(Handle, int type, unsigned* megahertz) {
  *megahertz = type == 1 ? 1410 : 9999;
  return 0;
}
EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(Handle handle, unsigned long long* reasons) {
  *reasons = index_of(handle) == 0 ? 0x1 : 0x44;
  return 0;
}
EXPORT int nvmlDeviceGetTemperature(Handle, int sensor, unsigned* degrees) {
  *degrees = sensor == 0 ? 91 : 0;
  return 0;
}
EXPORT int nvmlDeviceGetNvLinkState(Handle handle, unsigned link, int* on) {
  if (link >= 12) return not_supported;
  *on = index_of(handle) == 0 || link < 10;
  return 0;
}
EXPORT int nvmlDeviceGetNvLinkErrorCounter(Handle, unsigned, int counter, unsigned long long* errors) {
  *errors = counter == 1 ? 0 : 77;
  return 0;
}
// GPU 0 knows the speed of all links, GPU 1 that of each link that is on.
EXPORT int nvmlDeviceGetFieldValues(Handle handle, int count, Field* fields) {
  for (int i = 0; i < count; ++i) {
    const bool known = index_of(handle) == 0 ? fields[i].field == 90 : fields[i].field == 164 && fields[i].scope < 10;
    fields[i].answer = known ? 0 : not_supported;
    fields[i].value = index_of(handle) == 0 ? 25781 : 26562;
  }
  return 0;
}
