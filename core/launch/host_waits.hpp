// HostWaits: how often torch makes the calling thread wait for the GPU, by torch's own debug mode for it.
//
// What it does not see: waits outside torch's helpers for copies and streams, such as a kernel's own or a full launch queue.
// tools/bench/count_syncs counts at the CUDA runtime instead.
#pragma once

#include <c10/util/Exception.h>

#include <optional>

namespace conclave {

/// Counts from construction to destruction, on one thread and on the autograd threads that work for it. Other warnings go
/// where they went before.
class HostWaits final : private c10::WarningHandler {
 public:
  /// `mode` is torch's switch (c10::cuda::SyncDebugMode: 0 off, 1 warn); nullptr where there is none: then nothing is
  /// counted.
  explicit HostWaits(int* mode = torch_switch());
  ~HostWaits() override;
  HostWaits(const HostWaits&) = delete;
  HostWaits& operator=(const HostWaits&) = delete;

  /// Nothing on a CPU, or where this LibTorch keeps its switch elsewhere.
  [[nodiscard]] std::optional<int> count() const;

  /// The switch of the loaded LibTorch; nullptr before its CUDA half is loaded.
  static int* torch_switch();

 private:
  void process(const c10::Warning& warning) override;

  int* mode_;
  int before_ = 0, count_ = 0;
  c10::WarningHandler* outer_;
};

} // namespace conclave
