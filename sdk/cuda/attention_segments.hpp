// Segments of a batch: where they lie, in the slots that cuDNN takes them from, and attention of the short ones.
//
// cuDNN takes sequences of different lengths as slots: a first token, a length, and one longest length for all, with blocks launched
// for every slot as if it were that long. How many segments a batch has is not known on the host, and a slot for each of the B S that
// there might be would launch 10^7 idle blocks. So slots come in classes of lengths: segments longer than L number less than S / L in a
// row, so a class from L to 8 L needs as many slots a row, and launches at most 8 times the blocks of one dense attention, idle ones of
// which leave at once. Two or three classes reach from whole rows down to short segments; those take plain kernels, which work on
// whatever there is without slots.
#pragma once

#include "launch.hpp"

namespace conclave::cuda {

/// Segments of more than `above` and at most `longest` tokens.
struct SegmentClass {
  std::int32_t longest, above;
  std::int32_t per_row; ///< slots, of which a row's segments take the first ones
  std::int32_t first;   ///< slot of the batch's first row
  std::int32_t slots;   ///< B per_row; one more is the end, and some more make multiples of 16 bytes
};

struct SegmentClasses {
  static constexpr int most = 8;
  SegmentClass of[most];
  int count = 0;
  std::int32_t slots = 0; ///< of all
  std::int32_t plain = 0; ///< the longest segment that no class takes
};

SegmentClasses segment_classes(std::int64_t batch, std::int64_t length);

struct SegmentTables {
  std::int32_t* spans; ///< [2, B, S]
  std::int32_t*
      offsets; ///< [slots]: first tokens; they never fall within a class, and unused slots stand after used ones
  std::int32_t* lengths; ///< [slots]: 0 for unused ones
};
void find_segments(const SegmentClasses& classes, std::int64_t batch, std::int64_t length, const std::int32_t* ids,
                   const SegmentTables& tables, cudaStream_t stream);

/// Numbers of a token in queries, keys, values, results and log-sums.
inline constexpr int segment_widths = 5;
struct SegmentWidths {
  std::int64_t of[segment_widths];
};
/// to [segment_widths, slots] = from [slots] times each width.
void scale_offsets(const std::int32_t* from, std::int32_t slots, const SegmentWidths& widths, std::int64_t* to,
                   cudaStream_t stream);

struct PlainAttentionShape {
  Type type; ///< fp16 or bf16
  std::int64_t tokens;
  int heads, kv_heads, width, value_width; ///< widths even, at most plain_widest
  std::int64_t window;                     ///< 0: none
  std::int32_t longest;                    ///< longer segments are left alone
  const std::int32_t* spans;
};
inline constexpr int plain_widest = 256;

/// query [T, H, D], key [T, G, D], value [T, G, V], out [T, H, V], all of them dense; lse [T, H].
struct PlainAttention {
  const void *query, *key, *value;
  void* out;
  float* lse;
};
void plain_attention(const PlainAttentionShape& shape, const PlainAttention& x, cudaStream_t stream);

/// dots [T, H] is scratch.
struct PlainAttentionGradients {
  const void* dout;
  void *dquery, *dkey, *dvalue;
  float* dots;
};
void plain_attention_backward(const PlainAttentionShape& shape, const PlainAttention& x,
                              const PlainAttentionGradients& gradients, cudaStream_t stream);

} // namespace conclave::cuda
