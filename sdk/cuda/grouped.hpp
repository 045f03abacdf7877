// Launchers of grouped products: one matrix product for each expert, over rows that stand sorted by expert.
//
// Nothing of a group's size is known on the host: a kernel writes the list of products from `ends`, and blocks take tiles from
// that list until it is empty. No group is padded, and an empty one costs nothing.
#pragma once

#include "grouped_list.cuh"
#include "launch.hpp"

namespace conclave::cuda {

struct GroupedShape {
  Type type; ///< fp16 or bf16
  std::int64_t rows, groups, columns, inner;
};

/// The current device is a Hopper, and the environment does not ask for what an A100 would run (CONCLAVE_SM80_KERNELS), so that
/// it can be tested where there is no A100.
bool has_wgmma();

/// Bytes of `scratch` that each call below wants, aligned to 256.
std::int64_t grouped_scratch_bytes(std::int64_t groups);

/// y [rows, columns] = x [rows, inner] times, for the rows of group g, weight[g]^T with weight [groups, columns, inner]
/// (`transposed`), or weight[g] with weight [groups, inner, columns]. inner and columns are multiples of 8. Rows beyond the last end
/// are not written.
void grouped_product(const GroupedShape& shape, const void* x, const void* weight, const std::int32_t* ends,
                     bool transposed, void* y, void* scratch, cudaStream_t stream);

/// out [groups, inner, columns] fp32 = left^T right for each group's rows, left [rows, inner], right [rows, columns]; added to out
/// when `accumulate`. A group without rows gives 0.
void grouped_weight_gradient(const GroupedShape& shape, const void* left, const void* right, const std::int32_t* ends,
                             float* out, bool accumulate, void* scratch, cudaStream_t stream);

// The same on Hopper alone; false: not taken, nothing was launched.
bool grouped_product_sm90(const GroupedShape& shape, const GroupedOperands& operands, const std::int32_t* ends,
                          bool transposed, void* scratch, std::int64_t scratch_bytes, cudaStream_t stream);
bool grouped_weight_gradient_sm90(const GroupedShape& shape, const GroupedOperands& operands, const std::int32_t* ends,
                                  bool accumulate, void* scratch, std::int64_t scratch_bytes, cudaStream_t stream);

} // namespace conclave::cuda
