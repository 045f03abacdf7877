// The NCCL backend of c10d, in a library of its own that is opened when ranks with GPUs make groups.
//
// The host links torch_cpu alone, and ProcessGroupNCCL lives in libtorch_cuda: libconclave_nccl.so links that, holds this one
// function, and is opened by name at run time (core/launch/groups.cpp).
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>

namespace conclave {

inline constexpr const char* nccl_library = "libconclave_nccl.so";
inline constexpr const char* nccl_backend_symbol = "conclave_make_nccl_backend";
/// An int: NCCL_VERSION_CODE of the header that the library was built with.
inline constexpr const char* nccl_version_symbol = "conclave_nccl_version";

/// What the symbol is: a pointer to such a function. A backend for CUDA tensors among `size` ranks; communicators are made at the first call. May throw.
using MakeNcclBackend = c10::intrusive_ptr<c10d::Backend> (*)(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                                              int size, std::chrono::milliseconds timeout);

} // namespace conclave
