// libconclave_nccl.so.

#include "launch/nccl/nccl_backend.hpp"

#include <nccl.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace {

c10::intrusive_ptr<c10d::Backend> make_backend(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                               std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, std::move(options));
}

} // namespace

extern "C" __attribute__((visibility("default"))) const conclave::MakeNcclBackend conclave_make_nccl_backend =
    make_backend;
extern "C" __attribute__((visibility("default"))) const int conclave_nccl_version = NCCL_VERSION_CODE;
