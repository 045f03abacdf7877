// Recorded work: repeats write what the recorded operators would have written, also where a fill or a copy became a kernel.

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <gtest/gtest.h>

#include <memory>

#include "launch/device.hpp"
#include "train/graph_executor.hpp"

namespace conclave::train {
namespace {

class Graph : public ::testing::Test {
 protected:
  void SetUp() override {
    static const Result<OpenedDevice> opened = open_device(DeviceChoice::cuda, 0, false); // once in a process
    if (!opened.ok()) GTEST_SKIP() << opened.error().render();
    auto made = open_cuda_recorder();
    ASSERT_TRUE(made.ok()) << made.error().render();
    recorder_ = std::move(made).value();
  }
  std::unique_ptr<RecordedWork> record(const std::function<void()>& body) {
    auto work = recorder_->record([&]() -> Status {
      body();
      return {};
    });
    EXPECT_TRUE(work.ok()) << work.error().render();
    return std::move(work).value();
  }
  std::unique_ptr<WorkRecorder> recorder_;
};

// Byte by byte around each: sizes and places that whole vectors do not cover, and the bytes beside them.
TEST_F(Graph, FillsAndCopiesWriteTheirBytesAndNoOthers) {
  const auto bytes = at::TensorOptions().device(at::kCUDA).dtype(at::kByte);
  for (const at::ScalarType type : {at::kByte, at::kShort, at::kFloat, at::kDouble}) {
    for (const std::int64_t count : {1, 3, 16, 1000, 4099, 1 << 20}) {
      for (const std::int64_t skipped : {0, 1, 8}) {
        const auto options = bytes.dtype(type);
        const at::Tensor source = at::arange(count + 16, bytes.dtype(at::kLong)).to(type),
                         filled = at::full({count + 16}, 7, options), copied = at::full({count + 16}, 7, options);
        const auto inner = [&](const at::Tensor& x) { return x.narrow(0, skipped, count); };
        const auto work = record([&] {
          inner(filled).zero_();
          inner(copied).copy_(inner(source));
        });
        filled.fill_(7); // nothing of the recording ran; a repeat works on what there is then
        copied.fill_(7);
        source.add_(1);
        const at::Tensor zeros = filled.clone(), copy = copied.clone();
        inner(zeros).fill_(0);
        inner(copy).copy_(inner(source));
        for (int repeat = 0; repeat < 2; ++repeat) {
          work->replay();
          EXPECT_TRUE(filled.equal(zeros)) << type << " x " << count << " from " << skipped;
          EXPECT_TRUE(copied.equal(copy)) << type << " x " << count << " from " << skipped;
        }
      }
    }
  }
}

// Each step reads what the one before wrote: a replaced node must stand in its place in the line.
TEST_F(Graph, OrderStays) {
  const at::Tensor a = at::full({4096}, 1.0F, at::TensorOptions().device(at::kCUDA)), b = at::empty_like(a);
  const auto work = record([&] {
    b.copy_(a);
    a.zero_();
    a.add_(b, 3);
    b.zero_();
    b.add_(a);
  });
  work->replay();
  work->replay();
  EXPECT_TRUE(a.equal(at::full_like(a, 9.0F)));
  EXPECT_TRUE(b.equal(a));
}

} // namespace
} // namespace conclave::train
