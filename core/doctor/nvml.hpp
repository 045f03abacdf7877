// Nvml: the driver's management library, opened at run time.
//
// The few calls that we make have had one binary interface since driver 418; their declarations stand in nvml.cpp with their
// meaning, so that no build needs NVIDIA's headers.
//
// Threading: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "conclave/status.hpp"
#include "doctor/gpus.hpp"

namespace conclave::doctor {

class Nvml {
 public:
  /// Code::unsupported when the library is missing or refuses to start.
  static Result<std::unique_ptr<Nvml>> open(const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  [[nodiscard]] std::string driver_version() const;
  [[nodiscard]] int driver_cuda() const; ///< 13000 is 13.0; 0: it does not say
  /// Every GPU of the machine, whatever CUDA_VISIBLE_DEVICES says. One that does not answer (fallen off the bus) is an
  /// error that names it.
  [[nodiscard]] Result<std::vector<Gpu>> gpus() const;

 private:
  struct Calls;
  explicit Nvml(std::unique_ptr<Calls> calls);
  std::unique_ptr<Calls> calls_;
};

} // namespace conclave::doctor
