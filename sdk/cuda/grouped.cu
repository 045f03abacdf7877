// Grouped products on the tensor cores of every GPU since sm_80 (mma.sync, cp.async), with CUTLASS's persistent grouped kernel.
//
// Work: 2 rows columns inner operations for a product, and as many for a weight's gradient, which also moves 8 bytes for each
// element of `out` (4 when it need not be read).

#include "grouped.hpp"

#include <cutlass/cutlass.h>
#include <cutlass/epilogue/thread/linear_combination.h>
#include <cutlass/gemm/device/gemm_grouped.h>
#include <cutlass/gemm/kernel/default_gemm_grouped.h>

#include <cstdlib>

namespace conclave::cuda {
namespace {

using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;
using Problem = cutlass::gemm::GemmCoord;

/// A, B of Element; C and D of Output, accumulated in fp32.
template <class Element, class LayoutA, class LayoutB, class Output, int tile_m, int tile_n, int stages>
using Grouped = cutlass::gemm::device::GemmGrouped<typename cutlass::gemm::kernel::DefaultGemmGrouped<
    Element, LayoutA, cutlass::ComplexTransform::kNone, 8, Element, LayoutB, cutlass::ComplexTransform::kNone, 8,
    Output, RowMajor, float, cutlass::arch::OpClassTensorOp, cutlass::arch::Sm80,
    cutlass::gemm::GemmShape<tile_m, tile_n, 32>, cutlass::gemm::GemmShape<64, 64, 32>,
    cutlass::gemm::GemmShape<16, 8, 16>,
    cutlass::epilogue::thread::LinearCombination<Output, 128 / cutlass::sizeof_bits<Output>::value, float, float>,
    cutlass::gemm::threadblock::GemmBatchedIdentityThreadblockSwizzle, stages,
    cutlass::gemm::kernel::GroupScheduleMode::kDeviceOnly>::GemmKernel>;

__global__ void write_list(GroupedOperands o, const std::int32_t* ends, int groups, GroupedList<Problem> list) {
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += static_cast<int>(blockDim.x)) {
    const int rows = list.write_pointers(o, ends, g);
    list.problems[g] = Problem(o.m > 0 ? o.m : rows, o.n, o.k > 0 ? o.k : rows);
    list.strides[0][g] = o.lda;
    list.strides[1][g] = o.ldb;
    list.strides[2][g] = o.ldc;
  }
}

template <class Gemm>
void run(const GroupedOperands& operands, const std::int32_t* ends, std::int64_t groups, float beta, void* scratch,
         cudaStream_t stream) {
  const GroupedList<Problem> list(scratch, groups);
  write_list<<<1, 128, 0, stream>>>(operands, ends, static_cast<int>(groups), list);
  using Kernel = typename Gemm::GemmKernel;
  typename Gemm::Arguments arguments(
      list.problems, static_cast<int>(groups), Gemm::sufficient(nullptr, 0, multiprocessors()),
      typename Gemm::EpilogueOutputOp::Params(1.0F, beta), addresses<typename Kernel::ElementA>(list.a),
      addresses<typename Kernel::ElementB>(list.b), addresses<typename Kernel::ElementC>(list.c),
      addresses<typename Kernel::ElementC>(list.c), list.strides[0], list.strides[1], list.strides[2], list.strides[2]);
  Gemm gemm;
  if (gemm.initialize(arguments, nullptr, stream) == cutlass::Status::kSuccess) gemm.run(stream);
}

template <class Element>
void product(const GroupedShape& s, const GroupedOperands& operands, const std::int32_t* ends, bool transposed,
             void* scratch, cudaStream_t stream) {
  if (transposed)
    run<Grouped<Element, RowMajor, ColumnMajor, Element, 256, 128, 3>>(operands, ends, s.groups, 0, scratch, stream);
  else
    run<Grouped<Element, RowMajor, RowMajor, Element, 256, 128, 3>>(operands, ends, s.groups, 0, scratch, stream);
}

template <class Element>
void weight_gradient(const GroupedShape& s, const GroupedOperands& operands, const std::int32_t* ends, bool accumulate,
                     void* scratch, cudaStream_t stream) {
  run<Grouped<Element, ColumnMajor, RowMajor, float, 128, 128, 4>>(operands, ends, s.groups, accumulate ? 1.0F : 0.0F,
                                                                   scratch, stream);
}

constexpr std::int64_t element_bytes = 2;

} // namespace

bool has_wgmma() {
  static const bool forced = std::getenv("CONCLAVE_SM80_KERNELS") != nullptr;
  int device = 0, major = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  return !forced && major == 9;
}

std::int64_t grouped_scratch_bytes(std::int64_t groups) {
  // Hopper's kernels keep descriptors of three tensors for each multiprocessor behind the list.
  return grouped_list_bytes(groups, sizeof(Problem)) + static_cast<std::int64_t>(multiprocessors()) * 1024 + 4096;
}

void grouped_product(const GroupedShape& s, const void* x, const void* weight, const std::int32_t* ends,
                     bool transposed, void* y, void* scratch, cudaStream_t stream) {
  GroupedOperands o{};
  o.a = static_cast<char*>(const_cast<void*>(x));
  o.b = static_cast<char*>(const_cast<void*>(weight));
  o.c = static_cast<char*>(y);
  o.a_row = s.inner * element_bytes;
  o.b_group = s.inner * s.columns * element_bytes;
  o.c_row = s.columns * element_bytes;
  o.lda = s.inner;
  o.ldb = transposed ? s.inner : s.columns;
  o.ldc = s.columns;
  o.n = static_cast<int>(s.columns);
  o.k = static_cast<int>(s.inner);
  if (has_wgmma() && grouped_product_sm90(s, o, ends, transposed, scratch, grouped_scratch_bytes(s.groups), stream))
    return;
  if (s.type == Type::fp16)
    product<cutlass::half_t>(s, o, ends, transposed, scratch, stream);
  else
    product<cutlass::bfloat16_t>(s, o, ends, transposed, scratch, stream);
}

void grouped_weight_gradient(const GroupedShape& s, const void* left, const void* right, const std::int32_t* ends,
                             float* out, bool accumulate, void* scratch, cudaStream_t stream) {
  GroupedOperands o{};
  o.a = static_cast<char*>(const_cast<void*>(left));
  o.b = static_cast<char*>(const_cast<void*>(right));
  o.c = reinterpret_cast<char*>(out);
  o.a_row = s.inner * element_bytes;
  o.b_row = s.columns * element_bytes;
  o.c_group = s.inner * s.columns * static_cast<std::int64_t>(sizeof(float));
  o.lda = s.inner;
  o.ldb = o.ldc = s.columns;
  o.m = static_cast<int>(s.inner);
  o.n = static_cast<int>(s.columns);
  if (has_wgmma() &&
      grouped_weight_gradient_sm90(s, o, ends, accumulate, scratch, grouped_scratch_bytes(s.groups), stream))
    return;
  if (s.type == Type::fp16)
    weight_gradient<cutlass::half_t>(s, o, ends, accumulate, scratch, stream);
  else
    weight_gradient<cutlass::bfloat16_t>(s, o, ends, accumulate, scratch, stream);
}

} // namespace conclave::cuda
