// Torch warns at each wait while its switch is on; the warnings are caught and counted.

#include "launch/host_waits.hpp"

#include <dlfcn.h>

#include <string_view>

namespace conclave {
namespace {

// c10/cuda/CUDAFunctions.cpp, warn_or_error_on_sync().
constexpr std::string_view told = "synchronizing CUDA operation";
// c10::cuda::WarningState holds the mode alone. The accessor is inline and the host does not link c10_cuda, so what it
// returns is looked up: c10::cuda::warning_state()::warning_state_.
constexpr const char* symbol = "_ZZN3c104cuda13warning_stateEvE14warning_state_";
constexpr int warn = 1;

} // namespace

HostWaits::HostWaits(int* mode) : mode_(mode), outer_(c10::WarningUtils::get_warning_handler()) {
  if (mode_ == nullptr) return;
  before_ = *mode_;
  c10::WarningUtils::set_warning_handler(this);
  *mode_ = warn;
}

HostWaits::~HostWaits() {
  if (mode_ == nullptr) return;
  *mode_ = before_;
  c10::WarningUtils::set_warning_handler(outer_);
}

std::optional<int> HostWaits::count() const { return mode_ == nullptr ? std::nullopt : std::optional(count_); }

int* HostWaits::torch_switch() { return static_cast<int*>(dlsym(RTLD_DEFAULT, symbol)); }

void HostWaits::process(const c10::Warning& warning) {
  if (std::string_view(warning.msg()).find(told) != std::string_view::npos) {
    ++count_;
  } else {
    outer_->process(warning);
  }
}

} // namespace conclave
