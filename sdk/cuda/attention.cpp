// attention: cuDNN for rows, windows and long segments, plain kernels for short segments.

#include <ATen/ops/empty.h>

#include "attention_plan.hpp"
#include "attention_segments.hpp"
#include "kernels.hpp"

namespace conclave::cuda {
namespace {

using Inputs = ops::GpuKernels::AttentionInputs;

int current_device() {
  int device = 0;
  cudaGetDevice(&device);
  return device;
}

bool has_slots(const Inputs& in) { return in.segments.spans.defined(); }

AttentionKey key_of(const Inputs& in) {
  AttentionKey key;
  key.device = current_device();
  key.type = type_of(in.query);
  key.deterministic = in.deterministic;
  key.batch = in.query.size(0);
  key.length = in.query.size(1);
  key.heads = in.query.size(2);
  key.kv_heads = in.key.size(2);
  key.width = in.query.size(3);
  key.value_width = in.value.size(3);
  key.window = in.window;
  std::size_t i = 0;
  for (const at::Tensor& x : {in.query, in.key, in.value})
    for (std::int64_t axis = 0; axis < 3; ++axis) key.strides[i++] = x.stride(axis);
  return key;
}

/// The same for a class's slots.
AttentionKey key_of(const Inputs& in, const SegmentClass& segments) {
  AttentionKey key = key_of(in);
  key.batch = segments.slots;
  key.length = segments.longest;
  key.tokens = in.query.size(0) * in.query.size(1);
  if (key.window >= key.length) key.window = 0;
  return key;
}

SegmentClasses classes_of(const Inputs& in) { return segment_classes(in.query.size(0), in.query.size(1)); }

PlainAttentionShape plain_shape(const Inputs& in, const SegmentClasses& classes) {
  PlainAttentionShape shape{};
  shape.type = type_of(in.query);
  shape.tokens = in.query.size(0) * in.query.size(1);
  shape.heads = static_cast<int>(in.query.size(2));
  shape.kv_heads = static_cast<int>(in.key.size(2));
  shape.width = static_cast<int>(in.query.size(3));
  shape.value_width = static_cast<int>(in.value.size(3));
  shape.window = in.window;
  shape.longest = classes.plain;
  shape.spans = in.segments.spans.const_data_ptr<std::int32_t>();
  return shape;
}

AttentionPointers pointers_of(const Inputs& in, const at::Tensor& out, const at::Tensor& lse) {
  AttentionPointers x;
  x.query = in.query.const_data_ptr();
  x.key = in.key.const_data_ptr();
  x.value = in.value.const_data_ptr();
  x.out = mutable_data(out);
  x.lse = mutable_floats(lse);
  return x;
}

/// Where the slots begin in each tensor: a number for each slot and tensor.
at::Tensor offsets_of(const Inputs& in, const SegmentClasses& classes) {
  const std::int64_t heads = in.query.size(2), kv_heads = in.key.size(2), width = in.query.size(3),
                     value_width = in.value.size(3);
  at::Tensor offsets = at::empty({segment_widths, classes.slots}, in.query.options().dtype(at::kLong));
  if (classes.slots == 0) return offsets;
  scale_offsets(in.segments.slots.const_data_ptr<std::int32_t>(), classes.slots,
                {heads * width, kv_heads * width, kv_heads * value_width, heads * value_width, heads},
                offsets.mutable_data_ptr<std::int64_t>(), current_stream());
  check_launch();
  return offsets;
}

/// body(plan, pointers) for the rows, or for each class of segments.
template <class Body>
void for_each_plan(const Inputs& in, AttentionPointers x, const Body& body) {
  const auto run = [&](const AttentionKey& key) {
    const AttentionPlan* plan = attention_plan(key);
    TORCH_CHECK(plan != nullptr, "attention was called with inputs that takes_attention() refuses");
    body(*plan, x);
  };
  if (!has_slots(in)) return run(key_of(in));
  const SegmentClasses classes = classes_of(in);
  const at::Tensor offsets = offsets_of(in, classes);
  for (int c = 0; c < classes.count; ++c) {
    x.lengths = in.segments.slots.const_data_ptr<std::int32_t>() + classes.slots + classes.of[c].first;
    for (std::size_t i = 0; i < x.offsets.size(); ++i)
      x.offsets[i] =
          offsets.const_data_ptr<std::int64_t>() + static_cast<std::int64_t>(i) * classes.slots + classes.of[c].first;
    run(key_of(in, classes.of[c]));
  }
}

at::Tensor workspace(std::int64_t bytes, const at::Tensor& like) {
  return at::empty({bytes}, like.options().dtype(at::kByte));
}

bool is_laid_out_for_cudnn(const at::Tensor& x) {
  if (!x.is_cuda() || x.dim() != 4 || x.stride(3) != 1) return false;
  constexpr std::int64_t unit = 16;
  const auto size = static_cast<std::int64_t>(x.element_size());
  for (std::int64_t axis = 0; axis < 3; ++axis)
    if (x.stride(axis) * size % unit != 0) return false;
  return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % unit == 0;
}

} // namespace

bool Kernels::has_attention() const { return has_attention_plans(); }

bool Kernels::has_segments() const {
  int major = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, current_device());
  return major >= 9 && has_attention(); // cuDNN's backward pass over slots reads log-sums by row on older ones
}

ops::GpuKernels::Segments Kernels::find_segments(const at::Tensor& segment_ids) const {
  const std::int64_t batch = segment_ids.size(0), length = segment_ids.size(1);
  const SegmentClasses classes = segment_classes(batch, length);
  const at::Tensor spans = at::empty({2, batch, length}, segment_ids.options());
  const at::Tensor slots = at::empty({2, classes.slots}, segment_ids.options());
  CONCLAVE_KERNEL("find_segments", segment_ids, spans, slots);
  if (segment_ids.numel() == 0) return {spans, slots};
  TORCH_CHECK(segment_ids.scalar_type() == at::kInt, "segment ids are int32");
  TORCH_CHECK(segment_ids.numel() <= INT32_MAX, "a batch of ", segment_ids.numel(),
              " tokens is too large for segments");
  auto* const first = static_cast<std::int32_t*>(mutable_data(slots));
  cuda::find_segments(classes, batch, length, static_cast<const std::int32_t*>(data(segment_ids)),
                      {static_cast<std::int32_t*>(mutable_data(spans)), first, first + classes.slots},
                      current_stream());
  check_launch();
  return {spans, slots};
}

bool Kernels::takes_attention(const AttentionInputs& in) const {
  const std::int64_t width = in.query.size(3), value_width = in.value.size(3);
  if (in.query.scalar_type() != at::kBFloat16 && in.query.scalar_type() != at::kHalf) return false;
  for (const at::Tensor& x : {in.query, in.key, in.value})
    if (x.scalar_type() != in.query.scalar_type() || !is_laid_out_for_cudnn(x)) return false;
  if (!has_slots(in)) return attention_plan(key_of(in)) != nullptr;
  // Widths of 16: cuDNN's backward pass over slots is known to go wrong with others.
  if (width % 16 != 0 || value_width % 16 != 0 || std::max(width, value_width) > plain_widest) return false;
  for (const at::Tensor& x : {in.query, in.key, in.value})
    if (!x.is_contiguous()) return false;
  const SegmentClasses classes = classes_of(in);
  for (int c = 0; c < classes.count; ++c)
    if (attention_plan(key_of(in, classes.of[c])) == nullptr) return false;
  return true;
}

// A profile reckons operations for whole rows only: shapes do not tell what windows and segments hide.

void Kernels::attention(const AttentionInputs& in, const at::Tensor& out, const at::Tensor& lse) const {
  const char* const name = has_slots(in)   ? "conclave::attention_segments"
                           : in.window > 0 ? "conclave::attention_window"
                                           : "conclave::attention";
  RECORD_FUNCTION(name, std::vector<c10::IValue>({in.query, in.key, in.value, out, lse}));
  const AttentionPointers pointers = pointers_of(in, out, lse);
  for_each_plan(in, pointers, [&](const AttentionPlan& plan, const AttentionPointers& x) {
    const at::Tensor scratch = workspace(plan.forward_workspace(), out);
    plan.forward(x, scratch.mutable_data_ptr(), current_stream());
  });
  if (!has_slots(in)) return;
  plain_attention(plain_shape(in, classes_of(in)),
                  {pointers.query, pointers.key, pointers.value, pointers.out, mutable_floats(lse)}, current_stream());
  check_launch();
}

void Kernels::attention_backward(const at::Tensor& dout, const AttentionInputs& in, const at::Tensor& out,
                                 const at::Tensor& lse, const at::Tensor& dquery, const at::Tensor& dkey,
                                 const at::Tensor& dvalue) const {
  const char* const name = has_slots(in)   ? "conclave::attention_segments_backward"
                           : in.window > 0 ? "conclave::attention_window_backward"
                                           : "conclave::attention_backward";
  RECORD_FUNCTION(name, std::vector<c10::IValue>({dout, in.query, in.key, in.value, out, lse, dquery, dkey, dvalue}));
  AttentionPointers pointers = pointers_of(in, out, lse);
  pointers.dout = data(dout);
  pointers.dquery = mutable_data(dquery);
  pointers.dkey = mutable_data(dkey);
  pointers.dvalue = mutable_data(dvalue);
  for_each_plan(in, pointers, [&](const AttentionPlan& plan, const AttentionPointers& x) {
    const at::Tensor scratch = workspace(plan.backward_workspace(), out);
    plan.backward(x, scratch.mutable_data_ptr(), current_stream());
  });
  if (!has_slots(in)) return;
  const at::Tensor dots = at::empty(lse.sizes(), lse.options());
  plain_attention_backward(plain_shape(in, classes_of(in)),
                           {pointers.query, pointers.key, pointers.value, pointers.out, mutable_floats(lse)},
                           {pointers.dout, pointers.dquery, pointers.dkey, pointers.dvalue, mutable_floats(dots)},
                           current_stream());
  check_launch();
}

} // namespace conclave::cuda
