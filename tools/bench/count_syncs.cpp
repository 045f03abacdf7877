// count_syncs: a library to preload that counts the calls of the CUDA runtime that make the host wait for the GPU, or may.
//
//   LD_PRELOAD=build/lib/libcount_syncs.so conclave run X --device cuda --set train.steps=20 ...
//
// Prints one line a function on stderr when the process ends. The waits of one step are the difference between two runs of
// different length, divided by the steps. What this is not: a profiler; it sees only what goes through libcudart's symbols,
// as LibTorch's calls do.
//
// cudaMemcpyKind's 2 is device to host; such a copy into memory that is not pinned waits, too.
#include <dlfcn.h>

#include <atomic>
#include <cstddef>
#include <cstdio>

namespace {

struct Counter {
  const char* name;
  std::atomic<long> calls{0};
  explicit Counter(const char* n) : name(n) {}
  ~Counter() { std::fprintf(stderr, "count_syncs: %s %ld\n", name, calls.load()); }
};

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

constexpr int device_to_host = 2;

} // namespace

extern "C" {

__attribute__((visibility("default"))) int cudaStreamSynchronize(void* stream) {
  static Counter counter("cudaStreamSynchronize");
  ++counter.calls;
  static auto* const real = next<int(void*)>("cudaStreamSynchronize");
  return real(stream);
}

__attribute__((visibility("default"))) int cudaDeviceSynchronize() {
  static Counter counter("cudaDeviceSynchronize");
  ++counter.calls;
  static auto* const real = next<int()>("cudaDeviceSynchronize");
  return real();
}

__attribute__((visibility("default"))) int cudaEventSynchronize(void* event) {
  static Counter counter("cudaEventSynchronize");
  ++counter.calls;
  static auto* const real = next<int(void*)>("cudaEventSynchronize");
  return real(event);
}

__attribute__((visibility("default"))) int cudaMemcpy(void* to, const void* from, std::size_t bytes, int kind) {
  static Counter counter("cudaMemcpy");
  ++counter.calls;
  static auto* const real = next<int(void*, const void*, std::size_t, int)>("cudaMemcpy");
  return real(to, from, bytes, kind);
}

__attribute__((visibility("default"))) int cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, int kind,
                                                           void* stream) {
  static Counter counter("cudaMemcpyAsync to the host");
  if (kind == device_to_host) ++counter.calls;
  static auto* const real = next<int(void*, const void*, std::size_t, int, void*)>("cudaMemcpyAsync");
  return real(to, from, bytes, kind, stream);
}

} // extern "C"
