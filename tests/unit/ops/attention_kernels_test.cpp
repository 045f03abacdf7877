// attention in bf16 and fp16, at shapes that a GPU's kernels take, against softmax written out in fp64; and those kernels themselves.

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <ostream>

#include "check_operator.hpp"
#include "conclave/ops/attention.hpp"
#include "ops/gpu_kernels.hpp"

namespace conclave::testing {
namespace {

struct AttentionShape {
  const char* name;
  std::int64_t length, heads = 4, kv_heads = 2, width = 64, value_width = 64, window = 0;
  std::vector<std::vector<std::int64_t>> segments =
      {};              ///< lengths of each row's, the last fills the row; none: one a row
  bool packed = false; ///< queries, keys and values are parts of one tensor
};
constexpr std::int64_t row_count = 2;

std::vector<std::int64_t> repeated(std::int64_t length, std::size_t times) {
  return std::vector<std::int64_t>(times, length);
}

/// Each in bf16 and fp16, on a GPU: whole rows and windows, tiles of 64 and 128 whole and not.
std::vector<AttentionShape> attention_shapes() {
  return {
      {.name = "causal", .length = 256},
      {.name = "two_tokens", .length = 2},
      {.name = "no_whole_tile", .length = 37},
      {.name = "a_tile_and_one", .length = 129},
      {.name = "heads_of_128", .length = 300, .heads = 16, .kv_heads = 4, .width = 128, .value_width = 128},
      {.name = "one_key_head", .length = 200, .heads = 8, .kv_heads = 1, .width = 128, .value_width = 128},
      {.name = "as_many_key_heads", .length = 200, .heads = 3, .kv_heads = 3},
      {.name = "parts_of_one_tensor", .length = 150, .heads = 6, .kv_heads = 2, .packed = true},
      {.name = "latent_attention", .length = 260, .heads = 4, .kv_heads = 4, .width = 192, .value_width = 128},
      {.name = "window_in_a_tile", .length = 300, .window = 20},
      {.name = "window_of_one", .length = 140, .window = 1},
      {.name = "window_of_a_tile", .length = 520, .window = 128},
      {.name = "window_across_tiles",
       .length = 700,
       .heads = 4,
       .kv_heads = 1,
       .width = 128,
       .value_width = 128,
       .window = 201},
      {.name = "window_as_long_as_the_row", .length = 200, .window = 200},
      {.name = "window_beyond_the_row", .length = 200, .window = 1000},
      {.name = "whole_rows", .length = 300, .segments = {{300}, {300}}},
      {.name = "short_row_of_segments", .length = 100, .segments = {{1, 1, 1, 30}, {99}}},
      {.name = "two_long_ones", .length = 400, .segments = {{210}, {193, 207}}},
      {.name = "one_token_each", .length = 250, .segments = {repeated(1, 250), {}}},
      {.name = "short_between_long",
       .length = 900,
       .segments = {{1, 300, 7, 113, 1, 250, 60}, {112, 113, 114, 1, 500}}},
      {.name = "as_many_as_a_class_has", .length = 1024, .segments = {repeated(129, 7), repeated(146, 7)}},
      {.name = "longer_than_a_class",
       .length = 1700,
       .heads = 2,
       .kv_heads = 1,
       .segments = {repeated(213, 7), {1500, 30, 27}}},
      {.name = "many", .length = 1600, .heads = 2, .kv_heads = 1, .segments = {repeated(26, 61), repeated(25, 64)}},
      {.name = "segments_16_to_4",
       .length = 450,
       .heads = 16,
       .kv_heads = 4,
       .width = 128,
       .value_width = 128,
       .segments = {{250, 3, 57}, {40, 400}}},
      {.name = "segments_of_latent_attention",
       .length = 400,
       .heads = 4,
       .kv_heads = 4,
       .width = 192,
       .value_width = 128,
       .segments = {{250, 3, 57}, {40, 350}}},
      {.name = "segments_in_windows", .length = 900, .window = 100, .segments = {{1, 300, 7, 113, 1, 250, 60}, {899}}},
      {.name = "segments_in_a_window_of_three", .length = 500, .window = 3, .segments = {{300, 7}, {20, 20, 400}}},
      {.name = "segments_below_their_window", .length = 500, .window = 260, .segments = {{300, 7}, {20, 20, 400}}},
  };
}

/// [rows, S] int32 on the device, ids going up.
at::Tensor segment_ids(const AttentionShape& c) {
  if (c.segments.empty()) return {};
  std::vector<at::Tensor> all;
  for (const auto& lengths : c.segments) {
    const at::Tensor ids = at::zeros({c.length}, at::kInt);
    std::int64_t at = 0;
    int id = 0;
    for (const std::int64_t length : lengths) {
      ids.narrow(0, at, length).fill_(id++);
      at += length;
    }
    ids.narrow(0, at, c.length - at).fill_(id);
    all.push_back(ids.unsqueeze(0));
  }
  return at::cat(all).to(test_device());
}

/// Scores [rows, H, S, S] in fp64, what is hidden at -inf.
at::Tensor scores(const AttentionShape& c, const at::Tensor& query, const at::Tensor& key) {
  const at::Tensor wide = key.transpose(1, 2).repeat_interleave(c.heads / c.kv_heads, 1);
  const at::Tensor position = at::arange(c.length, at::TensorOptions(at::kLong).device(test_device()));
  const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0);
  at::Tensor hidden = distance.lt(0);
  if (c.window > 0) hidden = hidden.logical_or(distance.ge(c.window));
  if (const at::Tensor ids = segment_ids(c); ids.defined())
    hidden = hidden.logical_or(ids.unsqueeze(1).unsqueeze(3).ne(ids.unsqueeze(1).unsqueeze(2)));
  return (at::matmul(query.transpose(1, 2), wide.transpose(2, 3)) / std::sqrt(static_cast<double>(c.width)))
      .masked_fill(hidden, -std::numeric_limits<double>::infinity());
}
at::Tensor weigh(const AttentionShape& c, const at::Tensor& score, const at::Tensor& value) {
  return at::matmul(at::softmax(score, -1), value.transpose(1, 2).repeat_interleave(c.heads / c.kv_heads, 1))
      .transpose(1, 2);
}

struct AttentionRun {
  at::Tensor out, lse, dquery, dkey, dvalue;
};

/// Inputs of a shape in a type, and what attention makes of them.
class AttentionInputs {
 public:
  AttentionInputs(const AttentionShape& shape, at::ScalarType scalar) : c(shape), type(scalar) {
    const std::int64_t keys = c.kv_heads;
    query = random_tensor({row_count, c.length, c.heads, c.width}, "q").to(type);
    key = random_tensor({row_count, c.length, keys, c.width}, "k").to(type);
    value = random_tensor({row_count, c.length, keys, c.value_width}, "v").to(type);
    if (c.packed) {
      const at::Tensor all = at::cat({query, key, value}, 2);
      query = all.narrow(2, 0, c.heads);
      key = all.narrow(2, c.heads, keys);
      value = all.narrow(2, c.heads + keys, keys);
    }
    dout = random_tensor({row_count, c.length, c.heads, c.value_width}, "g").to(type);
    ids = segment_ids(c);
  }

  /// The operator through autograd.
  AttentionRun run() const {
    const auto leaf = [](const at::Tensor& x) { return x.detach().requires_grad_(); };
    const at::Tensor q = leaf(query), k = leaf(key), v = leaf(value);
    const at::Tensor out = ops::attention(q, k, v, ops::make_attention_mask(q, ids, c.window));
    torch::autograd::backward({out}, {dout});
    return {out.detach(), {}, q.grad(), k.grad(), v.grad()};
  }

  AttentionRun reference() const {
    const auto leaf = [](const at::Tensor& x) { return x.detach().to(at::kDouble).requires_grad_(); };
    const at::Tensor q = leaf(query), k = leaf(key), v = leaf(value);
    const at::Tensor score = scores(c, q, k), out = weigh(c, score, v);
    torch::autograd::backward({out}, {dout.to(at::kDouble)});
    return {out.detach(), at::logsumexp(score.detach(), {-1}), q.grad(), k.grad(), v.grad()};
  }

  /// Kernels round what they weigh values with, and each result, to the type.
  void expect_close(const AttentionRun& run, const AttentionRun& expected, const char* what) const {
    const double tolerance = type == at::kHalf ? 2e-3 : 2e-2;
    EXPECT_LE(distance(run.out, expected.out), tolerance) << what << ": output";
    EXPECT_LE(distance(run.dquery, expected.dquery), tolerance) << what << ": gradient of queries";
    EXPECT_LE(distance(run.dkey, expected.dkey), tolerance) << what << ": gradient of keys";
    EXPECT_LE(distance(run.dvalue, expected.dvalue), tolerance) << what << ": gradient of values";
  }

  AttentionShape c;
  at::ScalarType type;
  at::Tensor query, key, value, dout, ids;
};

/// Each shape in each type, for what needs a GPU.
void for_each_on_gpu(const std::function<void(const AttentionInputs&)>& body) {
  for (const AttentionShape& shape : attention_shapes()) {
    for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
      SCOPED_TRACE(std::string(shape.name) + (type == at::kHalf ? ", fp16" : ", bf16"));
      body(AttentionInputs(shape, type));
    }
  }
}

struct AttentionParameter {
  AttentionShape shape;
  at::ScalarType type;
};
void PrintTo(const AttentionParameter& p, std::ostream* out) { *out << p.shape.name << " in " << p.type; }

std::vector<AttentionParameter> parameters() {
  std::vector<AttentionParameter> all;
  for (const AttentionShape& shape : attention_shapes())
    for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) all.push_back({shape, type});
  return all;
}

class HalfAttention : public ::testing::TestWithParam<AttentionParameter> {};

TEST_P(HalfAttention, EqualsSoftmaxInFp64) {
  const AttentionInputs x(GetParam().shape, GetParam().type);
  x.expect_close(x.run(), x.reference(), "operator");
}

INSTANTIATE_TEST_SUITE_P(Shapes, HalfAttention, ::testing::ValuesIn(parameters()), [](const auto& p) {
  return std::string(p.param.shape.name) + (p.param.type == at::kHalf ? "_fp16" : "_bf16");
});

TEST(AttentionKernels, TakeTheseShapesAndWriteEveryNumber) {
  if (!test_device().is_cuda()) GTEST_SKIP() << "SKIPPED: these kernels need a GPU (CONCLAVE_TEST_DEVICE=cuda)";
  const ops::GpuKernels* kernels = ops::gpu_kernels();
  if (kernels == nullptr || !kernels->has_segments())
    GTEST_SKIP()
        << "SKIPPED: libconclave_cuda.so is missing, was built without cuDNN, or this GPU is older than Hopper";
  for_each_on_gpu([&](const AttentionInputs& x) {
    ops::GpuKernels::AttentionInputs in{x.query, x.key, x.value, x.c.window < x.c.length ? x.c.window : 0, {}, false};
    if (x.ids.defined()) in.segments = kernels->find_segments(x.ids);
    if (!kernels->takes_attention(in)) {
      ADD_FAILURE() << "cuDNN refused";
      return;
    }
    const auto poisoned = [](const at::Tensor& y) { return at::full(y.sizes(), std::nan(""), y.options()); };
    const at::Tensor lse =
        at::full({row_count, x.c.heads, x.c.length}, std::nan(""), x.query.options().dtype(at::kFloat));
    AttentionRun run{poisoned(x.dout), lse, poisoned(x.query), poisoned(x.key), poisoned(x.value)};
    kernels->attention(in, run.out, run.lse);
    kernels->attention_backward(x.dout, in, run.out, run.lse, run.dquery, run.dkey, run.dvalue);
    const AttentionRun expected = x.reference();
    x.expect_close(run, expected, "kernels");
    const bool by_token = x.ids.defined();
    EXPECT_LE(distance(by_token ? lse.view({row_count, x.c.length, x.c.heads}).transpose(1, 2) : lse, expected.lse),
              1e-4);
  });
}

TEST(AttentionKernels, GiveTheSameBitsInDeterministicMode) {
  if (!test_device().is_cuda()) GTEST_SKIP() << "SKIPPED: this mode is a GPU's (CONCLAVE_TEST_DEVICE=cuda)";
  struct Deterministic {
    Deterministic() { at::globalContext().setDeterministicAlgorithms(true, false); }
    ~Deterministic() { at::globalContext().setDeterministicAlgorithms(false, false); }
  };
  for_each_on_gpu([&](const AttentionInputs& x) {
    if (x.ids.defined()) return; // LibTorch's attention with a dense mask
    AttentionRun first, second;
    {
      const Deterministic mode;
      first = x.run();
      second = x.run();
    }
    EXPECT_TRUE(first.out.equal(second.out));
    EXPECT_TRUE(first.dquery.equal(second.dquery));
    EXPECT_TRUE(first.dkey.equal(second.dkey));
    EXPECT_TRUE(first.dvalue.equal(second.dvalue));
    x.expect_close(first, x.reference(), "operator");
  });
}

TEST(AttentionSegments, LieWhereTheirIdsAre) {
  if (!test_device().is_cuda()) GTEST_SKIP() << "SKIPPED: this kernel needs a GPU (CONCLAVE_TEST_DEVICE=cuda)";
  if (ops::gpu_kernels() == nullptr) GTEST_SKIP() << "SKIPPED: libconclave_cuda.so is missing";
  for (const AttentionShape& c : attention_shapes()) {
    if (c.segments.empty()) continue;
    const at::Tensor ids = segment_ids(c), host = ids.cpu();
    const ops::GpuKernels::Segments found = ops::gpu_kernels()->find_segments(ids);
    const at::Tensor spans = found.spans.cpu(), slots = found.slots.cpu();
    const auto id = host.accessor<std::int32_t, 2>(), slot = slots.accessor<std::int32_t, 2>();
    const auto span = spans.accessor<std::int32_t, 3>();
    std::vector<std::pair<std::int64_t, std::int64_t>> in_slots, expected; // first token and length
    for (std::int64_t s = 0; s < slots.size(1); ++s)
      if (slot[1][s] > 0) in_slots.emplace_back(slot[0][s], slot[1][s]);
    for (std::int64_t row = 0; row < row_count; ++row) {
      for (std::int64_t i = 0, begin = 0; i < c.length; ++i) {
        if (i > 0 && id[row][i] != id[row][i - 1]) begin = i;
        std::int64_t end = i + 1;
        while (end < c.length && id[row][end] == id[row][i]) ++end;
        ASSERT_EQ(span[0][row][i], row * c.length + begin) << c.name << ", row " << row << ", token " << i;
        ASSERT_EQ(span[1][row][i], row * c.length + end) << c.name << ", row " << row << ", token " << i;
        std::int64_t plain = c.length; // the longest that takes no slot
        while (plain > 192) plain /= 8;
        if (begin == i && end - begin > plain) expected.emplace_back(row * c.length + begin, end - begin);
      }
    }
    std::sort(in_slots.begin(), in_slots.end());
    EXPECT_EQ(in_slots, expected) << c.name;
  }
}

} // namespace
} // namespace conclave::testing
