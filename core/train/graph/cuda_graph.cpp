// libconclave_graph.so: recorded work as torch's CUDA graphs, all with one pool of memory.
//
// One pool is right because graphs run one after the other, and none reads what another left in temporaries.

#include "train/graph/cuda_graph.hpp"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

namespace conclave::train {
namespace {

class CudaGraph final : public RecordedWork {
 public:
  at::cuda::CUDAGraph graph;
  void replay() override { graph.replay(); }
};

class CudaRecorder final : public WorkRecorder {
 public:
  CudaRecorder() : pool_(at::cuda::graph_pool_handle()), stream_(c10::cuda::getStreamFromPool()) {}

  Result<std::unique_ptr<RecordedWork>> record(const std::function<Status()>& body) override {
    auto work = std::make_unique<CudaGraph>();
    // What eager steps have used and freed would stand beside the pool's memory.
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    // Thread-local: threads that have nothing to do with the step (the checkpoint's writer) go on as ever.
    work->graph.capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
    Status status;
    std::exception_ptr thrown;
    try {
      status = body();
    } catch (...) {
      thrown = std::current_exception();
    }
    try {
      work->graph.capture_end(); // also after an error: the stream must leave its recording state
    } catch (...) {
      if (status.ok() && thrown == nullptr) thrown = std::current_exception();
    }
    if (!status.ok() || thrown != nullptr) cudaGetLastError(); // it would fail the next launch
    if (thrown != nullptr) std::rethrow_exception(thrown);
    if (!status.ok()) return status.error();
    return std::unique_ptr<RecordedWork>(std::move(work));
  }

 private:
  at::cuda::MempoolId_t pool_;
  c10::cuda::CUDAStream stream_;
};

std::unique_ptr<WorkRecorder> make_recorder() { return std::make_unique<CudaRecorder>(); }

} // namespace
} // namespace conclave::train

extern "C" __attribute__((visibility("default"))) const conclave::train::MakeCudaRecorder conclave_make_cuda_recorder =
    conclave::train::make_recorder;
