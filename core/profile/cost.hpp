// What a call must compute or move at least, from the shapes of its arguments.
#pragma once

#include "profile/events.hpp"

namespace conclave::profile {

/// Floating-point operations of products and attention (a multiply and an add are two); 0 for everything else. Attention counts as
/// causal: half the scores; its backward pass as 2.5 times the forward pass, the products that it makes.
double flops_of(const Call& call);

/// Bytes of all tensors that one of our kernels, or a copy, was given, each read or written once; 0 where the arguments do not
/// tell.
double bytes_of(const Call& call);

} // namespace conclave::profile
