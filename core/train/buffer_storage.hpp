// BufferStorage: the state and counter buffers of a stage.
//
// Counters of one type share a flat tensor: one launch zeroes them all.
//
// Threading: one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "conclave/model.hpp"

namespace conclave::train {

class BufferStorage {
 public:
  BufferStorage(const StageDescription& description, at::Device device);
  void zero_counters();
  [[nodiscard]] const std::vector<at::Tensor>& tensors() const noexcept { return tensors_; } ///< in order
  /// The counters' tensors and what describes them, in the order of the description.
  struct Counter {
    const BufferSpec* spec = nullptr;
    at::Tensor values;
  };
  [[nodiscard]] const std::vector<Counter>& counters() const noexcept { return counters_; }

 private:
  std::vector<at::Tensor> tensors_;
  std::vector<at::Tensor> flat_; // one a type
  std::vector<Counter> counters_;
};

} // namespace conclave::train
