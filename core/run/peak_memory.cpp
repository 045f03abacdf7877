// Asks the allocator, or the kernel.

#include "run/peak_memory.hpp"

#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>

namespace conclave {

std::int64_t peak_memory(const Device& device) {
  if (device.kind == Device::Kind::cpu) {
    rusage usage{};
    return getrusage(RUSAGE_SELF, &usage) == 0 ? std::int64_t{usage.ru_maxrss} * 1024 : 0;
  }
  const auto stats =
      c10::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(device.index));
  return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

} // namespace conclave
