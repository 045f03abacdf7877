// Fills and copies in a graph as kernels.
//
// The driver launches a line of kernels in a time that hardly depends on their number. One node of another kind among them, and every
// node costs the host again: cuBLAS and cuDNN clear a semaphore before some of their kernels, ATen copies an addend.

#include "train/graph/kernel_nodes.hpp"

#include <cstdint>
#include <vector>

namespace conclave::train {
namespace {

constexpr int threads = 256;
constexpr std::size_t of_thread = 4; ///< vectors that a thread has under way

template <class T>
__global__ void fill(T* to, T value, std::size_t count) {
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * threads + threadIdx.x; i < count;
       i += static_cast<std::size_t>(gridDim.x) * threads)
    to[i] = value;
}

__global__ void copy(const uint4* from, uint4* to, std::size_t count) {
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * threads * of_thread + threadIdx.x;
  uint4 some[of_thread];
#pragma unroll
  for (std::size_t u = 0; u < of_thread; ++u)
    if (first + u * threads < count) some[u] = from[first + u * threads];
#pragma unroll
  for (std::size_t u = 0; u < of_thread; ++u)
    if (first + u * threads < count) to[first + u * threads] = some[u];
}

unsigned blocks_for(std::size_t count, std::size_t of_block) {
  return static_cast<unsigned>((count + of_block - 1) / of_block);
}

bool is_aligned(const void* pointer, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

bool on_gpu(const void* pointer) {
  cudaPointerAttributes attributes{};
  return cudaPointerGetAttributes(&attributes, pointer) == cudaSuccess && attributes.type == cudaMemoryTypeDevice;
}

/// A kernel in the place of `old`: after what that one is after, and before what that one is before.
cudaError_t replace(cudaGraph_t graph, cudaGraphNode_t old, void* kernel, unsigned blocks, void** arguments) {
  const auto neighbours = [old](auto ask, std::vector<cudaGraphNode_t>& nodes, std::vector<cudaGraphEdgeData>& edges) {
    std::size_t count = 0;
    cudaError_t error = ask(old, nullptr, nullptr, &count);
    nodes.resize(count);
    edges.resize(count);
    return error == cudaSuccess && count > 0 ? ask(old, nodes.data(), edges.data(), &count) : error;
  };
  std::vector<cudaGraphNode_t> before, after;
  std::vector<cudaGraphEdgeData> edges_before, edges_after;
  if (const auto error = neighbours(cudaGraphNodeGetDependencies, before, edges_before)) return error;
  if (const auto error = neighbours(cudaGraphNodeGetDependentNodes, after, edges_after)) return error;

  cudaKernelNodeParams params{};
  params.func = kernel;
  params.gridDim = dim3(blocks);
  params.blockDim = dim3(threads);
  params.kernelParams = arguments;
  cudaGraphNode_t node = nullptr;
  if (const auto error = cudaGraphAddKernelNode(&node, graph, before.data(), before.size(), &params)) return error;
  const std::vector<cudaGraphNode_t> self(after.size(), node);
  const std::vector<cudaGraphEdgeData> plain(after.size());
  if (!after.empty())
    if (const auto error = cudaGraphAddDependencies(graph, self.data(), after.data(), plain.data(), after.size()))
      return error;
  return cudaGraphDestroyNode(old);
}

cudaError_t replace_fill(cudaGraph_t graph, cudaGraphNode_t node) {
  cudaMemsetParams fills{};
  if (const auto error = cudaGraphMemsetNodeGetParams(node, &fills)) return error;
  if (fills.height != 1 || fills.width == 0) return cudaSuccess;
  std::size_t count = fills.width;
  void* to = fills.dst;
  const auto with = [&]<class T>(T value) {
    void* arguments[] = {&to, &value, &count};
    const unsigned blocks = blocks_for(count, threads * of_thread);
    return replace(graph, node, reinterpret_cast<void*>(&fill<T>), blocks, arguments);
  };
  switch (fills.elementSize) {
    case 1: return with(static_cast<unsigned char>(fills.value));
    case 2: return with(static_cast<unsigned short>(fills.value));
    case 4: return with(fills.value);
    default: return cudaSuccess;
  }
}

cudaError_t replace_copy(cudaGraph_t graph, cudaGraphNode_t node) {
  cudaMemcpy3DParms copies{};
  if (const auto error = cudaGraphMemcpyNodeGetParams(node, &copies)) return error;
  const auto& [width, height, depth] = copies.extent;
  const auto starts = [](const cudaPos& p) { return p.x == 0 && p.y == 0 && p.z == 0; };
  void* from = copies.srcPtr.ptr;
  void* to = copies.dstPtr.ptr;
  if (copies.srcArray != nullptr || copies.dstArray != nullptr || height != 1 || depth != 1 || width == 0 ||
      width % sizeof(uint4) != 0 || !starts(copies.srcPos) || !starts(copies.dstPos) ||
      !is_aligned(from, sizeof(uint4)) || !is_aligned(to, sizeof(uint4)) || !on_gpu(from) || !on_gpu(to))
    return cudaSuccess;
  std::size_t count = width / sizeof(uint4);
  void* arguments[] = {&from, &to, &count};
  return replace(graph, node, reinterpret_cast<void*>(&copy), blocks_for(count, threads * of_thread), arguments);
}

} // namespace

cudaError_t replace_fills_and_copies(cudaGraph_t graph) {
  std::size_t count = 0;
  if (const auto error = cudaGraphGetNodes(graph, nullptr, &count)) return error;
  std::vector<cudaGraphNode_t> nodes(count);
  if (count > 0)
    if (const auto error = cudaGraphGetNodes(graph, nodes.data(), &count)) return error;
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type{};
    if (const auto error = cudaGraphNodeGetType(node, &type)) return error;
    cudaError_t error = cudaSuccess;
    if (type == cudaGraphNodeTypeMemset) error = replace_fill(graph, node);
    if (type == cudaGraphNodeTypeMemcpy) error = replace_copy(graph, node);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

} // namespace conclave::train
