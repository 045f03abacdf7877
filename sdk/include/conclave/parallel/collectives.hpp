// Collectives that autograd differentiates.
//
// Rows are a tensor's first axis. "Own rows" of rank r among n ranks: [r T/n, (r+1) T/n) of T rows, T a multiple of n.
// A null group, and one of a single rank, gives back what it was given.
//
// Which adjoint is right depends on what the ranks do with the result; each function says for which use it is.
//
// Threading: as Group. Throws what Group throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "conclave/parallel/group.hpp"

namespace conclave::parallel {

/// [T/n, ...] -> [T, ...], all ranks' rows. Each rank then computes a part of its own with all rows (column-parallel
/// products), so their gradients are partial: backward is a reduce-scatter.
at::Tensor gather_rows(const at::Tensor& x, Group* group);

/// [T/n, ...] -> [T, ...]. Every rank then computes the same with all rows and is used for its own share of what follows
/// (the router): gradients are whole, backward takes the own rows.
at::Tensor gather_rows_replicated(const at::Tensor& x, Group* group);

/// [T, ...], partial sums on each rank (row-parallel products) -> [T/n, ...], own rows of the sum. Backward: all-gather.
at::Tensor reduce_scatter_rows(const at::Tensor& x, Group* group);

/// [T, ...], equal on each rank -> [T/n, ...], own rows. No communication either way: the gradient is zero outside the own
/// rows, as it is for the result of gather_rows_replicated.
at::Tensor own_rows(const at::Tensor& x, Group* group);

/// [..., C/n] -> [..., C], the ranks' columns in order. Gradients are partial: backward is a reduce-scatter over columns.
at::Tensor gather_columns(const at::Tensor& x, Group* group);

/// Rows to other ranks and rows from them, see Group::all_to_all; backward is the exchange in the other direction.
at::Tensor all_to_all_rows(const at::Tensor& x, std::vector<std::int64_t> output_rows,
                           std::vector<std::int64_t> input_rows, Group* group);

} // namespace conclave::parallel
