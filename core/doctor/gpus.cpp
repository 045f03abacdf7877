// Judging GPUs, and CUDA's word on which reach each other's memory.

#include "doctor/gpus.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>

#include "doctor/libraries.hpp"
#include "doctor/nvml.hpp"

namespace conclave::doctor {
namespace {

/// NVML's reasons for a clock below the highest that say that something is wrong. Idle GPUs, clocks that somebody set, and
/// the power limit (0x4), which a busy GPU meets all the time, are none.
struct Slowdown {
  std::uint64_t bit;
  Verdict verdict;
  const char* text;
};
constexpr std::array<Slowdown, 4> slowdown_reasons = {{
    {0x20, Verdict::warn, "too warm"},                   // software's thermal limit
    {0x40, Verdict::fail, "much too warm"},              // hardware's thermal limit: half the clock or less
    {0x80, Verdict::fail, "braked by the power supply"}, // an external brake
    {0x08, Verdict::fail, "slowed down by hardware"},
}};

const std::string reset = "drain the machine and reset the GPU (`nvidia-smi -r -i N`)";

std::string gpus_text(std::size_t count) { return std::to_string(count) + (count == 1 ? " GPU" : " GPUs"); }

/// One line for all GPUs: `well`, or the faults by GPU. `fault` gives "" for a GPU that is well.
Check each_gpu(const GpuFacts& facts, std::string name, Verdict verdict, const std::string& well,
               const std::string& advice, const std::function<std::string(const Gpu&)>& fault) {
  std::string faults;
  for (std::size_t index = 0; index < facts.gpus.size(); ++index)
    if (const std::string text = fault(facts.gpus[index]); !text.empty())
      faults += (faults.empty() ? "GPU " : "; GPU ") + std::to_string(index) + ": " + text;
  if (faults.empty()) return {std::move(name), Verdict::ok, well, ""};
  return {std::move(name), verdict, faults, advice};
}

/// The least of a figure over the GPUs.
template <class F>
auto least(const GpuFacts& facts, const F& of) {
  auto value = of(facts.gpus.front());
  for (const Gpu& gpu : facts.gpus) value = std::min(value, of(gpu));
  return value;
}

Check judge_count(const GpuFacts& facts, const Expectation& expected) {
  std::string figure = std::to_string(facts.gpus.size());
  if (!facts.gpus.empty()) figure += " x " + facts.gpus.front().name;
  const int wanted = expected.gpus.value_or(1);
  return at_least("GPUs", static_cast<double>(facts.gpus.size()), wanted, figure, std::to_string(wanted),
                  "one fell off the bus (`dmesg | grep -i xid`), or the job was not given it");
}

Check judge_driver(const GpuFacts& facts, const std::string& built_cuda) {
  const std::string serves = cuda_version_text(facts.driver_cuda);
  const std::string figure = facts.driver_version + ", serves CUDA " + serves;
  // Within a major version older drivers serve newer run-times.
  const auto major = [](const std::string& version) { return version.substr(0, version.find('.')); };
  if (built_cuda.empty() || compare_versions(major(serves), major(built_cuda)) >= 0)
    return {"driver", Verdict::ok, figure, ""};
  return {"driver", Verdict::fail, figure,
          "the program was built for CUDA " + built_cuda +
              ": install a driver of that major version (CUDA 13 needs R580), or build with an older CUDA"};
}

void judge_gpu_memory(const GpuFacts& facts, std::int64_t needed, const Expectation& expected, Checks& checks) {
  const auto total = static_cast<double>(least(facts, [](const Gpu& gpu) { return gpu.memory; }));
  const auto free = static_cast<double>(least(facts, [](const Gpu& gpu) { return gpu.memory_free; }));
  const std::string figure = size_text(total) + ", " + size_text(free) + " free";
  if (expected.gpu_memory)
    checks.push_back(at_least("GPU memory", total, static_cast<double>(expected.gpu_memory->value), figure,
                              size_text(static_cast<double>(expected.gpu_memory->value)), "another kind of GPU"));
  if (needed > 0)
    checks.push_back(at_least(
        "GPU memory free", free, static_cast<double>(needed), size_text(free), size_text(static_cast<double>(needed)),
        "end what has it (`nvidia-smi`), or see `conclave check` for what makes the run smaller"));
  else if (!expected.gpu_memory || free < 0.9 * total)
    checks.push_back(free < 0.9 * total ? Check{"GPU memory", Verdict::warn, figure, "`nvidia-smi` names who has it"}
                                        : Check{"GPU memory", Verdict::ok, figure, ""});
}

void judge_health(const GpuFacts& facts, Checks& checks) {
  checks.push_back(each_gpu(facts, "ECC", Verdict::warn, "on",
                            "turn it on (`nvidia-smi -e 1`), else wrong bits go unseen",
                            [](const Gpu& gpu) { return gpu.ecc && !*gpu.ecc ? "off" : ""; }));
  if (facts.gpus.front().ecc == std::nullopt) checks.back().figure = "not known";
  checks.push_back(each_gpu(facts, "memory errors", Verdict::fail, "none uncorrected since the driver was loaded",
                            reset, [](const Gpu& gpu) {
                              const std::uint64_t errors = gpu.uncorrected.value_or(0);
                              return errors > 0 ? std::to_string(errors) + " uncorrected" : std::string();
                            }));
  checks.push_back(each_gpu(facts, "bad memory", Verdict::fail, "nothing waits to be taken out of use",
                            reset + "; replace a GPU whose rows could not be remapped", [](const Gpu& gpu) {
                              if (gpu.remap_failed.value_or(false)) return "a row could not be remapped";
                              if (gpu.remap_pending.value_or(false)) return "a row waits to be remapped";
                              return gpu.retirement_pending.value_or(false) ? "a page waits to be retired" : "";
                            }));
}

void judge_gpu_clocks(const GpuFacts& facts, Checks& checks) {
  std::string figure = "not known";
  if (facts.gpus.front().clock && facts.gpus.front().clock_most)
    figure = std::to_string(least(facts, [](const Gpu& gpu) { return gpu.clock.value_or(0); })) + " MHz of " +
             std::to_string(least(facts, [](const Gpu& gpu) { return gpu.clock_most.value_or(0); })) +
             " MHz, not throttled";
  Verdict worst = Verdict::warn;
  for (const Gpu& gpu : facts.gpus)
    for (const Slowdown& reason : slowdown_reasons)
      if ((gpu.slowdowns.value_or(0) & reason.bit) != 0) worst = std::max(worst, reason.verdict);
  checks.push_back(
      each_gpu(facts, "clocks", worst, figure, "look at cooling and power of the machine", [](const Gpu& gpu) {
        std::string text;
        for (const Slowdown& reason : slowdown_reasons)
          if ((gpu.slowdowns.value_or(0) & reason.bit) != 0)
            text += (text.empty() ? "" : ", ") + std::string(reason.text);
        if (!text.empty() && gpu.temperature) text += " (" + std::to_string(*gpu.temperature) + " C)";
        return text;
      }));
}

void judge_links(const GpuFacts& facts, const Expectation& expected, Checks& checks) {
  const int most = std::max_element(facts.gpus.begin(), facts.gpus.end(), [](const Gpu& a, const Gpu& b) {
                     return a.links_on < b.links_on;
                   })->links_on;
  const double rate = least(facts, [](const Gpu& gpu) { return gpu.link_rate; });
  std::string figure = "none";
  if (most > 0)
    figure = std::to_string(most) + " links, " +
             (rate > 0 ? number_text(rate / 1e9) + " GB/s each way" : "at a rate that the driver does not tell");
  if (expected.nvlink_GBps) {
    checks.push_back(
        at_least("NVLink", rate / 1e9, *expected.nvlink_GBps, figure, number_text(*expected.nvlink_GBps) + " GB/s",
                 "`nvidia-smi nvlink -s` shows each link; on machines with NVSwitch, is the fabric manager up?"));
  } else if (facts.gpus.size() > 1) {
    checks.push_back({"NVLink", Verdict::ok, figure, ""});
  }
  if (most == 0) return;
  checks.push_back(each_gpu(
      facts, "NVLink health", Verdict::fail, "all links are up",
      "`nvidia-smi nvlink -e` has the errors; reset the GPUs, reseat or replace what stays", [most](const Gpu& gpu) {
        if (gpu.links_on < most) return std::to_string(gpu.links_on) + " of " + std::to_string(most) + " links are up";
        return gpu.link_errors > 0 ? "links started again " + std::to_string(gpu.link_errors) + " times"
                                   : std::string();
      }));
}

void judge_peers(const GpuFacts& facts, Checks& checks) {
  if (facts.peers.size() < 2) return;
  std::string apart;
  for (std::size_t from = 0; from < facts.peers.size(); ++from)
    for (std::size_t to = 0; to < facts.peers.size(); ++to)
      if (from != to && !facts.peers[from][to])
        apart += (apart.empty() ? "" : ", ") + std::to_string(from) + ">" + std::to_string(to);
  if (apart.empty())
    checks.push_back({"peer access", Verdict::ok, "between all of " + gpus_text(facts.peers.size()), ""});
  else
    checks.push_back(
        {"peer access", Verdict::warn, "none for GPUs " + apart,
         "messages go through the host's memory: see `nvidia-smi topo -p2p r`; ACS in the BIOS, or a virtual "
         "machine without it"});
}

std::vector<std::vector<bool>> read_peers() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return {};
  using Init = int (*)(unsigned flags);
  using Count = int (*)(int* devices);
  using CanAccess = int (*)(int* can, int device, int peer); // CUdevice is the number for devices that can be seen
  const auto init = reinterpret_cast<Init>(dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<Count>(dlsym(driver, "cuDeviceGetCount"));
  const auto can_access = reinterpret_cast<CanAccess>(dlsym(driver, "cuDeviceCanAccessPeer"));
  int devices = 0;
  if (init == nullptr || count == nullptr || can_access == nullptr || init(0) != 0 || count(&devices) != 0) return {};
  std::vector<std::vector<bool>> peers(static_cast<std::size_t>(devices));
  for (int device = 0; device < devices; ++device)
    for (int peer = 0; peer < devices; ++peer) {
      int can = 0;
      const bool reached = device != peer && can_access(&can, device, peer) == 0 && can != 0;
      peers[static_cast<std::size_t>(device)].push_back(reached);
    }
  return peers;
}

} // namespace

GpuFacts read_gpus() {
  GpuFacts facts;
  std::error_code ignored;
  facts.driver = std::filesystem::exists("/dev/nvidiactl", ignored);
  const auto nvml = Nvml::open();
  if (!nvml.ok()) {
    facts.error = nvml.error().what;
    return facts;
  }
  facts.driver = true;
  facts.driver_version = (*nvml)->driver_version();
  facts.driver_cuda = (*nvml)->driver_cuda();
  auto gpus = (*nvml)->gpus();
  if (gpus.ok())
    facts.gpus = std::move(gpus).value();
  else
    facts.error = gpus.error().what;
  if (facts.gpus.size() > 1) facts.peers = read_peers();
  return facts;
}

Checks judge_gpus(const GpuFacts& facts, const std::string& built_cuda, std::int64_t needed_memory,
                  const Expectation& expected) {
  if (!facts.driver) {
    if (expected.gpus.value_or(0) > 0)
      return {{"GPUs", Verdict::fail, "no NVIDIA driver",
               std::to_string(*expected.gpus) + " wanted: another machine, or load the driver"}};
    return {{"GPUs", Verdict::warn, "no NVIDIA driver", "runs take the CPU here"}};
  }
  if (!facts.error.empty())
    return {{"GPUs", Verdict::fail, facts.error,
             "`nvidia-smi` should say the same; `dmesg | grep -i xid` may say why. Reset or replace the GPU"}};
  Checks checks = {judge_count(facts, expected), judge_driver(facts, built_cuda)};
  if (facts.gpus.empty()) return checks;
  const std::string wanted = expected.gpu_name.value_or(facts.gpus.front().name);
  const std::string advice = expected.gpu_name
                                 ? wanted + " wanted: another machine"
                                 : "the slowest of different GPUs sets the pace: use machines of one kind";
  checks.push_back(each_gpu(
      facts, "GPU name", expected.gpu_name ? Verdict::fail : Verdict::warn, facts.gpus.front().name, advice,
      [&wanted](const Gpu& gpu) { return gpu.name.find(wanted) == std::string::npos ? gpu.name : std::string(); }));
  judge_gpu_memory(facts, needed_memory, expected, checks);
  judge_health(facts, checks);
  judge_gpu_clocks(facts, checks);
  judge_links(facts, expected, checks);
  judge_peers(facts, checks);
  return checks;
}

} // namespace conclave::doctor
