// Boxes of flat ranges: exact ones, and every range of small shapes against plain counting.

#include "checkpoint/flat_ranges.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <map>
#include <numeric>

namespace conclave {
namespace {

using Extents = std::vector<std::int64_t>;

auto is_box(const Extents& offset, const Extents& size) {
  return testing::AllOf(testing::Field(&Box::offset, offset), testing::Field(&Box::size, size));
}

std::int64_t elements(const Extents& shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

/// Flat indices of a box's elements, in its own order.
std::vector<std::int64_t> indices_of(const Extents& shape, const Box& box) {
  at::Tensor all = at::arange(elements(shape), at::kLong).view(shape);
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    all = all.narrow(static_cast<std::int64_t>(axis), box.offset[axis], box.size[axis]);
  all = all.contiguous();
  return {all.const_data_ptr<std::int64_t>(), all.const_data_ptr<std::int64_t>() + all.numel()};
}

TEST(FlatRanges, AreHeadRowsAndTail) {
  EXPECT_THAT(boxes_of_range({3, 4}, 2, 11),
              testing::ElementsAre(is_box({0, 2}, {1, 2}), is_box({1, 0}, {1, 4}), is_box({2, 0}, {1, 3})));
  EXPECT_THAT(boxes_of_range({3, 4}, 5, 7), testing::ElementsAre(is_box({1, 1}, {1, 2})));
  EXPECT_THAT(boxes_of_range({3, 4}, 4, 12), testing::ElementsAre(is_box({1, 0}, {2, 4})));
  EXPECT_THAT(boxes_of_range({2, 3, 4}, 1, 23),
              testing::ElementsAre(is_box({0, 0, 1}, {1, 1, 3}), is_box({0, 1, 0}, {1, 2, 4}),
                                   is_box({1, 0, 0}, {1, 2, 4}), is_box({1, 2, 0}, {1, 1, 3})));
  EXPECT_THAT(
      boxes_of_range({3, 2, 2}, 1, 11),
      testing::ElementsAre(is_box({0, 0, 1}, {1, 1, 1}), is_box({0, 1, 0}, {1, 1, 2}), is_box({1, 0, 0}, {1, 2, 2}),
                           is_box({2, 0, 0}, {1, 1, 2}), is_box({2, 1, 0}, {1, 1, 1})));
  EXPECT_THAT(boxes_of_range({}, 0, 1), testing::ElementsAre(is_box({}, {})));
  EXPECT_THAT(boxes_of_range({}, 0, 0), testing::IsEmpty());
  EXPECT_THAT(boxes_of_range({0, 4}, 0, 0), testing::IsEmpty());
  EXPECT_THAT(boxes_of_range({4, 0}, 0, 0), testing::IsEmpty());
}

TEST(FlatRanges, HoldTheirElementsInOrder) {
  for (const Extents& shape : std::vector<Extents>{{7}, {3, 4}, {1, 5}, {2, 3, 4}, {2, 1, 3, 2}, {1, 1, 1}}) {
    const std::int64_t count = elements(shape);
    for (std::int64_t begin = 0; begin <= count; ++begin)
      for (std::int64_t end = begin; end <= count; ++end) {
        const auto boxes = boxes_of_range(shape, begin, end);
        EXPECT_LE(boxes.size(), 2 * shape.size() - 1);
        std::vector<std::int64_t> held, expected(static_cast<std::size_t>(end - begin));
        std::iota(expected.begin(), expected.end(), begin);
        for (const Box& box : boxes)
          for (const std::int64_t index : indices_of(shape, box)) held.push_back(index);
        ASSERT_EQ(held, expected) << testing::PrintToString(shape) << " from " << begin << " to " << end;
      }
  }
}

// ---- parameters of pieces ----

/// [experts, 2 rows, columns] of gate and up weights [rows, columns], as grouped products read them.
ParamSpec fused_experts(std::int64_t experts, std::int64_t rows, std::int64_t columns) {
  ParamSpec spec;
  spec.name = "experts.gate_up";
  spec.shape = {experts, 2 * rows, columns};
  for (std::int64_t e = 0; e < experts; ++e)
    for (std::int64_t p = 0; p < 2; ++p)
      spec.pieces.push_back({"experts." + std::to_string(e) + (p == 0 ? ".gate" : ".up"),
                             {rows, columns},
                             {{0, 0}, {rows, columns}},
                             {{e, p * rows, 0}, {1, rows, columns}}});
  return spec;
}

/// The middle columns of a tensor whose local form has padding rows and an axis of size 1.
ParamSpec padded_columns() {
  ParamSpec spec;
  spec.name = "padded";
  spec.shape = {5, 1, 3};
  spec.pieces.push_back({"columns", {4, 9}, {{0, 3}, {4, 3}}, {{0, 0, 0}, {4, 1, 3}}});
  return spec;
}

/// Every range of `spec`: the shards are views that hold each named element of the range once, where it belongs.
void expect_all_ranges(const ParamSpec& spec) {
  const std::int64_t count = elements(spec.shape);
  const at::Tensor local = at::arange(count, at::kLong);
  for (std::int64_t begin = 0; begin <= count; ++begin)
    for (std::int64_t end = begin; end <= count; ++end) {
      const at::Tensor values = local.slice(0, begin, end);
      const auto shards = shards_of_range(spec, begin, values);
      ASSERT_TRUE(shards.ok()) << shards.error().render();
      // What the range's elements are called, by the definition of a piece.
      std::map<std::string, at::Tensor> expected, held;
      for (const ParamPiece& piece : spec.pieces) {
        at::Tensor box = local.view(spec.shape);
        for (std::size_t axis = 0; axis < spec.shape.size(); ++axis)
          box = box.narrow(static_cast<std::int64_t>(axis), piece.local.offset[axis], piece.local.size[axis]);
        at::Tensor whole = at::full(piece.global_shape, -1, at::kLong), part = whole;
        for (std::size_t axis = 0; axis < piece.global_shape.size(); ++axis)
          part = part.narrow(static_cast<std::int64_t>(axis), piece.global.offset[axis], piece.global.size[axis]);
        part.copy_(box.reshape(piece.global.size));
        whole.masked_fill_(whole.lt(begin).logical_or(whole.ge(end)), -1);
        expected[piece.name] = whole;
        held[piece.name] = at::full(piece.global_shape, -1, at::kLong);
      }
      for (const TensorShard& shard : *shards) {
        ASSERT_EQ(shard.global_shape, held.at(shard.name).sizes().vec());
        EXPECT_GT(shard.value.numel(), 0);
        EXPECT_EQ(shard.value.storage().data(), local.storage().data()) << "not a view";
        at::Tensor target = held.at(shard.name);
        for (std::size_t axis = 0; axis < shard.offset.size(); ++axis)
          target = target.narrow(static_cast<std::int64_t>(axis), shard.offset[axis],
                                 shard.value.size(static_cast<std::int64_t>(axis)));
        EXPECT_TRUE(target.eq(-1).all().item<bool>()) << "an element is in two shards of " << shard.name;
        target.copy_(shard.value);
      }
      for (const auto& [name, whole] : expected)
        ASSERT_TRUE(at::equal(held.at(name), whole)) << name << " from " << begin << " to " << end;
    }
}

TEST(FlatRanges, OfAFusedTensorAreBoxesOfItsPieces) {
  expect_all_ranges(fused_experts(3, 2, 3));
  expect_all_ranges(fused_experts(2, 1, 4)); // gate and up of one row: local axes of size 1 that are no experts
}

TEST(FlatRanges, LeavePaddingOutAndKnowWhereTheirPartLies) { expect_all_ranges(padded_columns()); }

TEST(FlatRanges, ShardsAreViewsThatAReadFills) {
  const at::Tensor values = at::zeros({7}); // elements 2 to 8: the end of gate 0, up 0, the begin of gate 1
  const auto shards = shards_of_range(fused_experts(2, 2, 2), 2, values);
  ASSERT_TRUE(shards.ok()) << shards.error().render();
  ASSERT_EQ(shards->size(), 3u);
  EXPECT_EQ((*shards)[0].name, "experts.0.gate");
  EXPECT_EQ((*shards)[0].offset, (Extents{1, 0}));
  EXPECT_EQ((*shards)[1].name, "experts.0.up");
  EXPECT_EQ((*shards)[2].name, "experts.1.gate");
  for (std::size_t i = 0; i < shards->size(); ++i) (*shards)[i].value.fill_(static_cast<double>(i + 1));
  const std::vector<float> filled(values.const_data_ptr<float>(), values.const_data_ptr<float>() + 7);
  EXPECT_THAT(filled, testing::ElementsAre(1, 1, 2, 2, 2, 2, 3));
}

TEST(FlatRanges, OfANarrowedBufferReadTheRightMemory) {
  const at::Tensor flat = at::arange(100, at::kLong); // a parameter [2, 5] that lies at 64 of its group
  ParamSpec spec;
  spec.name = "w";
  spec.shape = {2, 5};
  spec.pieces.push_back({"w", {2, 5}, {{0, 0}, {2, 5}}, {{0, 0}, {2, 5}}});
  const auto shards = shards_of_range(spec, 3, flat.slice(0, 64 + 3, 64 + 8));
  ASSERT_TRUE(shards.ok()) << shards.error().render();
  ASSERT_EQ(shards->size(), 2u);
  EXPECT_TRUE(at::equal((*shards)[0].value, at::arange(67, 69, at::kLong).view({1, 2})));
  EXPECT_TRUE(at::equal((*shards)[1].value, at::arange(69, 72, at::kLong).view({1, 3})));
}

TEST(FlatRanges, RefuseWhatIsNoRangeOrNoPiece) {
  ParamSpec spec = padded_columns();
  const auto refused = [&](std::int64_t begin, const at::Tensor& values) {
    const auto shards = shards_of_range(spec, begin, values);
    ASSERT_FALSE(shards.ok());
    EXPECT_EQ(shards.error().code, Code::internal);
    EXPECT_THAT(shards.error().what, testing::HasSubstr("`padded`"));
  };
  refused(-1, at::zeros({3}));
  refused(14, at::zeros({2}));
  refused(0, at::zeros({2, 2}));
  refused(0, at::zeros({8}).slice(0, 0, 8, 2));
  spec.pieces[0].global = {{0, 3}, {2, 6}}; // as many elements, another shape
  refused(0, at::zeros({3}));
  spec = padded_columns();
  spec.pieces[0].local = {{0, 0}, {4, 3}}; // not of the tensor's axes
  refused(0, at::zeros({3}));
}

} // namespace
} // namespace conclave
