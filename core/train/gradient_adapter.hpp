// Bridges ordinary autograd to GradSinks.
//
// An operator that knows its sink writes the main gradient itself and returns nothing to autograd. Every other gradient
// arrives at the leaf, where a hook adds it to the main gradient in fp32 and drops it, so that a bf16 gradient is never
// summed in bf16 over micro-batches.
//
// Contributions: however often a leaf is used, autograd sums its gradients first and the hook fires once per backward pass.
// Threading: the hook runs on autograd's thread of the device.
#pragma once

#include "train/storage.hpp"

namespace conclave::train {

/// The slot must outlive its value's autograd graphs.
void attach_gradient_adapter(ParameterSlot& slot);

} // namespace conclave::train
