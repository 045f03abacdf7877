// A run of elements of a flat buffer as boxes of named parameters, which is what checkpoints are made of.
//
// An optimizer shard is a range of a flat group and cuts parameters anywhere; a checkpoint knows only boxes of whole, named
// tensors and so does not depend on who held which range.
//
// Threading: pure functions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "checkpoint/store.hpp"
#include "conclave/param.hpp"
#include "conclave/status.hpp"

namespace conclave {

/// Elements [begin, end) of a row-major tensor as disjoint boxes, none empty, in the order of the elements: at most
/// 2 * axes - 1 of them. Precondition: 0 <= begin <= end <= the product of `shape`.
std::vector<Box> boxes_of_range(const std::vector<std::int64_t>& shape, std::int64_t begin, std::int64_t end);

/// What elements [begin, begin + values.numel()) of a local tensor hold of its named parameters. `values` is that range,
/// [n] and contiguous, on any device; each shard's value is a view of it. So the shards serve saving and, with
/// `reader.read(shard.name, shard.offset, shard.value)`, restoring. Elements outside of every piece are in no shard.
///
/// Code::internal, naming the parameter: the range leaves the tensor, or the sizes of a piece's local and global box differ
/// in more than axes of size 1.
Result<std::vector<TensorShard>> shards_of_range(const ParamSpec& spec, std::int64_t begin, const at::Tensor& values);

} // namespace conclave
