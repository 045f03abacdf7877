// From a run-time Type to a template argument.
#pragma once

#include "device.cuh"
#include "launch.hpp"

namespace conclave::cuda {

/// body(T{}) with T the type that `type` names.
template <class Body>
void dispatch(Type type, const Body& body) {
  switch (type) {
    case Type::fp32: return body(float{});
    case Type::fp16: return body(__half{});
    case Type::bf16: return body(__nv_bfloat16{});
  }
}

} // namespace conclave::cuda
