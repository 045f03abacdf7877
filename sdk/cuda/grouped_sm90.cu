// Grouped products on Hopper's tensor cores (wgmma, TMA), with CUTLASS's warp-specialised kernel over arrays of pointers.
//
// The weight's gradient is accumulated in fp32 into where it belongs: no tensor of the activations' type stands between, which
// would cost 6 more bytes for each of its elements and a rounding.

#include <cutlass/cutlass.h>
#include <cutlass/gemm/device/gemm_universal_adapter.h>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/epilogue/fusion/operations.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/group_array_problem_shape.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>

#include "grouped.hpp"
#include "grouped_list.cuh"

namespace conclave::cuda {
namespace {

using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;
using ProblemShape = cutlass::gemm::GroupProblemShape<cute::Shape<int, int, int>>;
using Problem = ProblemShape::UnderlyingProblemShape;

/// How a kernel's blocks work: `Tile` of C at a time, the two consumers of a block on one tile together (cooperative) or on a
/// tile each, so that one stores while the other multiplies (ping-pong).
struct Cooperative {
  using Tile = cute::Shape<cute::_128, cute::_256, cute::_64>;
  using Mainloop = cutlass::gemm::KernelPtrArrayTmaWarpSpecializedCooperative;
  using Epilogue = cutlass::epilogue::PtrArrayTmaWarpSpecializedCooperative;
};
struct PingPong {
  using Tile = cute::Shape<cute::_128, cute::_128, cute::_64>;
  using Mainloop = cutlass::gemm::KernelPtrArrayTmaWarpSpecializedPingpong;
  using Epilogue = cutlass::epilogue::PtrArrayTmaWarpSpecializedPingpong;
};

/// A, B of Element, accumulated in fp32; D of Output. Source: what is added, Output or nothing (void), whose place in shared memory
/// then serves the main loop.
template <class Work, class Element, class LayoutA, class LayoutB, class Output, class Source>
struct Grouped {
  using Tile = typename Work::Tile;
  using Cluster = cute::Shape<cute::_2, cute::_1, cute::_1>;
  static constexpr int alignment = 16 / sizeof(Element), output_alignment = 16 / sizeof(Output);
  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float, Source, RowMajor*, output_alignment, Output,
      RowMajor*, output_alignment, typename Work::Epilogue>::CollectiveOp;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Element, LayoutA*, alignment, Element, LayoutB*, alignment,
      float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename Epilogue::SharedStorage))>,
      typename Work::Mainloop>::CollectiveOp;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<ProblemShape, Mainloop, Epilogue>;
  using Gemm = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;
};

/// A stride of `leading` elements between rows or columns, whichever the layout's type leaves open.
template <class Stride>
__device__ Stride packed(std::int64_t leading) {
  Stride stride{};
  if constexpr (cute::is_static<cute::remove_cvref_t<decltype(cute::get<0>(stride))>>::value)
    cute::get<1>(stride) = leading;
  else
    cute::get<0>(stride) = leading;
  return stride;
}

template <class StrideA, class StrideB, class StrideC>
__global__ void write_list(GroupedOperands o, const std::int32_t* ends, int groups, GroupedList<Problem> list,
                           StrideA* a, StrideB* b, StrideC* c) {
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += static_cast<int>(blockDim.x)) {
    const int rows = list.write_pointers(o, ends, g);
    list.problems[g] = Problem(o.m > 0 ? o.m : rows, o.n, o.k > 0 ? o.k : rows);
    a[g] = packed<StrideA>(o.lda);
    b[g] = packed<StrideB>(o.ldb);
    c[g] = packed<StrideC>(o.ldc);
  }
}

template <class Choice>
bool run(const GroupedOperands& operands, const std::int32_t* ends, std::int64_t groups, float beta, void* scratch,
         std::int64_t scratch_bytes, cudaStream_t stream) {
  using Gemm = typename Choice::Gemm;
  using Kernel = typename Choice::Kernel;
  using StrideA = typename Kernel::InternalStrideA;
  using StrideB = typename Kernel::InternalStrideB;
  using StrideC = typename Kernel::InternalStrideC;
  using ElementA = typename Choice::Mainloop::ElementA;
  using Output = typename Choice::Epilogue::ElementD;
  using Source = typename Choice::Epilogue::ElementC;
  const GroupedList<Problem> list(scratch, groups);
  auto* a = reinterpret_cast<StrideA*>(list.strides[0]);
  auto* b = reinterpret_cast<StrideB*>(list.strides[1]);
  auto* c = reinterpret_cast<StrideC*>(list.strides[2]);
  static_assert(sizeof(StrideA) <= 8 && sizeof(StrideB) <= 8 && sizeof(StrideC) <= 8);
  write_list<<<1, 128, 0, stream>>>(operands, ends, static_cast<int>(groups), list, a, b, c);

  cutlass::KernelHardwareInfo hardware;
  cudaGetDevice(&hardware.device_id);
  hardware.sm_count = multiprocessors();
  typename Gemm::Arguments arguments{cutlass::gemm::GemmUniversalMode::kGrouped,
                                     {static_cast<int>(groups), list.problems, nullptr},
                                     {addresses<const ElementA>(list.a), a, addresses<const ElementA>(list.b), b},
                                     {{}, addresses<const Source>(list.c), c, addresses<Output>(list.c), c},
                                     hardware};
  arguments.epilogue.thread.alpha = 1;
  arguments.epilogue.thread.beta = beta;
  Gemm gemm;
  const std::int64_t used = grouped_list_bytes(groups, sizeof(Problem));
  if (static_cast<std::int64_t>(Gemm::get_workspace_size(arguments)) > scratch_bytes - used) return false;
  return gemm.initialize(arguments, static_cast<char*>(scratch) + used, stream) == cutlass::Status::kSuccess &&
         gemm.run(stream) == cutlass::Status::kSuccess;
}

/// Measured (H200, 65536 rows of 16 experts): 8 to 13 % faster than cooperative blocks, which wait for their stores.
template <class Element>
bool weight_gradient(const GroupedShape& s, const GroupedOperands& operands, const std::int32_t* ends, bool accumulate,
                     void* scratch, std::int64_t scratch_bytes, cudaStream_t stream) {
  return run<Grouped<PingPong, Element, ColumnMajor, RowMajor, float, float>>(
      operands, ends, s.groups, accumulate ? 1.0F : 0.0F, scratch, scratch_bytes, stream);
}

template <class Element, class LayoutB>
using Product = Grouped<Cooperative, Element, RowMajor, LayoutB, Element, void>;

} // namespace

bool grouped_product_sm90(const GroupedShape& s, const GroupedOperands& operands, const std::int32_t* ends,
                          bool transposed, void* scratch, std::int64_t scratch_bytes, cudaStream_t stream) {
  // bf16 is what LibTorch's own grouped product is for.
  if (s.type != Type::fp16) return false;
  using Element = cutlass::half_t;
  return transposed ? run<Product<Element, ColumnMajor>>(operands, ends, s.groups, 0, scratch, scratch_bytes, stream)
                    : run<Product<Element, RowMajor>>(operands, ends, s.groups, 0, scratch, scratch_bytes, stream);
}

bool grouped_weight_gradient_sm90(const GroupedShape& s, const GroupedOperands& operands, const std::int32_t* ends,
                                  bool accumulate, void* scratch, std::int64_t scratch_bytes, cudaStream_t stream) {
  return s.type == Type::fp16
             ? weight_gradient<cutlass::half_t>(s, operands, ends, accumulate, scratch, scratch_bytes, stream)
             : weight_gradient<cutlass::bfloat16_t>(s, operands, ends, accumulate, scratch, scratch_bytes, stream);
}

} // namespace conclave::cuda
