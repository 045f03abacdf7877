// cuDNN's attention for one combination of shapes: built once, run with the pointers of each call.
//
// cuDNN is the one that LibTorch has loaded, found at run time: nothing here is linked with it.
#pragma once

#include <array>
#include <compare>
#include <cstdint>

#include "launch.hpp"

namespace conclave::cuda {

struct AttentionKey {
  int device = 0;
  Type type = Type::bf16; ///< or fp16
  bool deterministic = false;
  std::int64_t batch = 0;  ///< rows, or slots
  std::int64_t length = 0; ///< of a row, or of the longest segment in a slot
  std::int64_t heads = 0, kv_heads = 0, width = 0, value_width = 0;
  std::int64_t window = 0; ///< 0: none
  std::int64_t tokens = 0; ///< of all slots; 0: rows
  /// Of queries, keys and values: from a row, a token and a head to the next. All other tensors are [B, S, heads, width], dense.
  std::array<std::int64_t, 9> strides{};
  auto operator<=>(const AttentionKey&) const = default;
};

struct AttentionPointers {
  const void *query = nullptr, *key = nullptr, *value = nullptr;
  void *out = nullptr, *lse = nullptr; ///< lse: [B, H, S] for rows, [T, H] for slots
  const void* dout = nullptr;
  void *dquery = nullptr, *dkey = nullptr, *dvalue = nullptr;
  /// Of slots: their lengths [batch], and where they begin in queries, keys, values, results and log-sums [batch + 1].
  const std::int32_t* lengths = nullptr;
  std::array<const std::int64_t*, 5> offsets{};
};

/// Threading: any thread; calls of one process run one after the other.
class AttentionPlan {
 public:
  virtual ~AttentionPlan() = default;
  /// Bytes, of device memory aligned to 256.
  [[nodiscard]] virtual std::int64_t forward_workspace() const = 0;
  [[nodiscard]] virtual std::int64_t backward_workspace() const = 0;
  /// Throw std::runtime_error when cuDNN refuses to run.
  virtual void forward(const AttentionPointers& x, void* workspace, cudaStream_t stream) const = 0;
  virtual void backward(const AttentionPointers& x, void* workspace, cudaStream_t stream) const = 0;
};

/// LibTorch has a cuDNN that serves.
bool has_attention_plans();

/// Null: cuDNN does not take this, forward and backward. Built at the first call with a key, for the current device; it lasts as
/// long as the process.
const AttentionPlan* attention_plan(const AttentionKey& key);

} // namespace conclave::cuda
