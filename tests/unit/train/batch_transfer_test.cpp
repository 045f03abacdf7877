// Batch tensors: their content, and where it lies from step to step.

#include "train/batch_transfer.hpp"

#include <gtest/gtest.h>

#include <array>

#include "unit/train/tiny_stage.hpp"

namespace conclave {
namespace {

using testing::make_step;

std::array<const void*, 7> addresses(const Batch& batch) {
  auto address = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; };
  return {address(batch.tokens),       address(batch.labels),      address(batch.loss_mask), address(batch.token_mask),
          address(batch.position_ids), address(batch.segment_ids), address(batch.domains)};
}

template <class T>
std::vector<T> values(const at::Tensor& tensor) {
  const T* data = static_cast<const T*>(tensor.const_data_ptr());
  return {data, data + tensor.numel()};
}

void expect_content(const Batch& batch, const data::HostMicroBatch& host, const data::HostStep& step) {
  EXPECT_EQ(batch.tokens.sizes().vec(), (std::vector<std::int64_t>{host.rows, host.length}));
  EXPECT_EQ(values<std::int64_t>(batch.tokens), host.tokens);
  EXPECT_EQ(values<std::int64_t>(batch.labels), host.labels);
  EXPECT_EQ(values<std::int64_t>(batch.position_ids), host.position_ids);
  EXPECT_EQ(values<std::uint8_t>(batch.loss_mask), host.loss_mask);
  EXPECT_EQ(batch.loss_mask.scalar_type(), at::kBool);
  EXPECT_EQ(values<std::int64_t>(batch.domains), host.domains);
  ASSERT_EQ(batch.token_mask.defined(), !host.token_mask.empty());
  if (batch.token_mask.defined()) {
    EXPECT_EQ(values<std::uint8_t>(batch.token_mask), host.token_mask);
  }
  ASSERT_EQ(batch.segment_ids.defined(), !host.segment_ids.empty());
  if (batch.segment_ids.defined()) {
    EXPECT_EQ(values<std::int32_t>(batch.segment_ids), host.segment_ids);
  }
  EXPECT_EQ(batch.global_loss_tokens, step.global_loss_tokens);
  EXPECT_EQ(batch.global_sequences, step.global_sequences);
}

// Micro-batches of two shapes and one without padding but with segments.
data::HostStep mixed_step(std::int64_t index) {
  data::HostStep step = make_step(index, 6, 2), other = make_step(index + 100, 4, 1);
  step.micro_batches.push_back(other.micro_batches[0]);
  other.micro_batches[0].token_mask.clear();
  other.micro_batches[0].segment_ids.assign(other.micro_batches[0].tokens.size(), static_cast<std::int32_t>(index));
  step.micro_batches.insert(step.micro_batches.begin(), other.micro_batches[0]);
  return step;
}

TEST(BatchBuffers, EqualShapesLieAtEqualAddressesAndHoldTheNewStep) {
  train::BatchBuffers buffers(at::kCPU);
  std::vector<std::array<const void*, 7>> first;
  for (const std::int64_t index : {0, 1, 2}) {
    const data::HostStep step = mixed_step(index);
    const auto batches = buffers.fill(step);
    ASSERT_EQ(batches.size(), step.micro_batches.size());
    for (std::size_t i = 0; i < batches.size(); ++i) {
      expect_content(*batches[i], step.micro_batches[i], step);
      if (index == 0) first.push_back(addresses(*batches[i]));
      EXPECT_EQ(addresses(*batches[i]), first[i]) << index << " " << i;
    }
    EXPECT_NE(addresses(*batches[1]), addresses(*batches[2])) << "micro-batches of one step do not share tensors";
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const Batch* const alone = buffers.fill_one(step, i);
      expect_content(*alone, step.micro_batches[i], step);
      EXPECT_EQ(addresses(*alone), first[i == 2 ? 1 : i]) << "the first tensors of the shape";
    }
    buffers.fill(make_step(index, 12, 3)); // steps of other keys in between, which use the same shapes and more
    buffers.fill(make_step(index, 8, 1));
  }
}

TEST(BatchTransfer, KeysTellShapesAndColumnsApart) {
  const auto key = [](const data::HostStep& step) { return train::shape_key(step.micro_batches.back()); };
  EXPECT_EQ(key(make_step(0, 6, 2)), key(make_step(9, 6, 2)));
  EXPECT_EQ(key(make_step(0, 6, 2)), key(make_step(0, 9, 3)));
  EXPECT_NE(key(make_step(0, 6, 2)), key(make_step(0, 6, 3)));
  auto changed = make_step(0, 6, 2);
  changed.micro_batches.back().token_mask.clear();
  EXPECT_NE(key(make_step(0, 6, 2)), key(changed));
}

} // namespace
} // namespace conclave
