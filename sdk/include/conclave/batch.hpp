// Batch: the tokens of one micro-step, on the stage's device.
//
// B is the number of sequences of this rank's micro-batch, S the padded length, the same on every rank in a micro-step.
// Padding is on the right, so a causal model never attends to it from a real token; it counts in no loss and no statistic.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace conclave {

struct Batch {
  at::Tensor tokens;       ///< [B, S] int64
  at::Tensor labels;       ///< [B, S] int64: the next token; 0 where loss_mask is false
  at::Tensor loss_mask;    ///< [B, S] bool: this position counts in the loss
  at::Tensor token_mask;   ///< [B, S] bool: a real token; undefined when there is no padding
  at::Tensor position_ids; ///< [B, S] int64: position within its document or sequence, as `data.batching` says
  at::Tensor segment_ids;  ///< [B, S] int32: attention stays within equal ids; undefined: within the sequence
  at::Tensor domains;      ///< [B] int64: index of the sequence's domain
  /// Of the whole global batch, over all ranks and micro-steps; the same on every rank. They differ from step to step while
  /// the shapes do not, so a stage's forward pass must not compute with them: the host divides by them when it seeds the
  /// backward pass (LocalLoss::normaliser).
  std::int64_t global_loss_tokens = 0;
  std::int64_t global_sequences = 0;
};

} // namespace conclave
