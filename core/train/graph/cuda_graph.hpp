// CUDA graphs, in a library of their own that is opened when a run has a GPU: the host links torch_cpu alone, and graphs are
// in libtorch_cuda.
#pragma once

#include <memory>

#include "train/graph_executor.hpp"

namespace conclave::train {

inline constexpr const char* graph_library = "libconclave_graph.so";
inline constexpr const char* graph_recorder_symbol = "conclave_make_cuda_recorder";

/// What the symbol is: a pointer to such a function. For the current device. May throw.
using MakeCudaRecorder = std::unique_ptr<WorkRecorder> (*)();

} // namespace conclave::train
