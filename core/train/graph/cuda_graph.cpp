// libconclave_graph.so: recorded work as torch's CUDA graphs, all with one pool of memory.
//
// One pool is right because graphs run one after the other, and none reads what another left in temporaries.

#include "train/graph/cuda_graph.hpp"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include "train/graph/kernel_nodes.hpp"

namespace conclave::train {
namespace {

class CudaGraph final : public RecordedWork {
 public:
  explicit CudaGraph(std::shared_ptr<const at::cuda::MempoolId_t> pool) : pool(std::move(pool)) {}
  std::shared_ptr<const at::cuda::MempoolId_t> pool;
  at::cuda::CUDAGraph graph{/*keep_graph=*/true}; // so that it can be changed before it is instantiated
  void replay() override { graph.replay(); }
};

class CudaRecorder final : public WorkRecorder {
 public:
  CudaRecorder() : stream_(c10::cuda::getStreamFromPool()) {}

  Result<std::unique_ptr<RecordedWork>> record(const std::function<Status()>& body) override {
    auto pool = pool_.lock();
    if (pool == nullptr) pool_ = pool = std::make_shared<const at::cuda::MempoolId_t>(at::cuda::graph_pool_handle());
    auto work = std::make_unique<CudaGraph>(pool);
    // What eager steps have used and freed would stand beside the pool's memory.
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    // Thread-local: threads that have nothing to do with the step (the checkpoint's writer) go on as ever.
    work->graph.capture_begin(*pool, cudaStreamCaptureModeThreadLocal);
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
#ifdef CONCLAVE_HAS_KERNEL_NODES
    C10_CUDA_CHECK(replace_fills_and_copies(work->graph.raw_cuda_graph()));
#endif
    work->graph.instantiate();
    return std::unique_ptr<RecordedWork>(std::move(work));
  }

 private:
  std::weak_ptr<const at::cuda::MempoolId_t> pool_; // torch refuses one whose graphs have all gone
  c10::cuda::CUDAStream stream_;
};

std::unique_ptr<WorkRecorder> make_recorder() { return std::make_unique<CudaRecorder>(); }

} // namespace
} // namespace conclave::train

extern "C" __attribute__((visibility("default"))) const conclave::train::MakeCudaRecorder conclave_make_cuda_recorder =
    conclave::train::make_recorder;
