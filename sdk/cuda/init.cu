// RandomStream::normal on the GPU: Philox4x32-10 (Salmon et al. 2011) and Box and Muller's method in fp64, two numbers a block.

#include "init.hpp"

#include "dispatch.cuh"

namespace conclave::cuda {
namespace {

struct Words {
  std::uint32_t w[4];
};

__device__ Words philox(std::uint64_t n, const std::array<std::uint32_t, 4>& state) {
  std::uint32_t c0 = static_cast<std::uint32_t>(n), c1 = static_cast<std::uint32_t>(n >> 32), c2 = state[2],
                c3 = state[3];
  std::uint32_t k0 = state[0], k1 = state[1];
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = static_cast<std::uint64_t>(0xD2511F53u) * c0,
                        b = static_cast<std::uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ k0;
    c2 = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(b);
    c3 = static_cast<std::uint32_t>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

__device__ double to_unit(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32) | low;
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

__device__ double normal(std::uint64_t n, const std::array<std::uint32_t, 4>& state) {
  const Words words = philox(n / 2, state);
  const double angle = 2.0 * 3.14159265358979323846 * to_unit(words.w[2], words.w[3]);
  const double radius = sqrt(-2.0 * log(1.0 - to_unit(words.w[0], words.w[1])));
  return radius * (n % 2 == 0 ? cos(angle) : sin(angle));
}

__device__ std::int64_t index_in(const BoxOf& box, std::int64_t i) {
  std::int64_t index = 0, stride = 1;
  for (int axis = box.axes - 1; axis >= 0; --axis) {
    index += (box.offset[axis] + i % box.size[axis]) * stride;
    i /= box.size[axis];
    stride *= box.shape[axis];
  }
  return index;
}

template <class T>
__device__ T rounded(double x) {
  return from_float<T>(static_cast<float>(x));
}
template <>
__device__ float rounded<float>(double x) {
  return static_cast<float>(x);
}
template <>
__device__ double rounded<double>(double x) {
  return x;
}
template <>
__device__ __half rounded<__half>(double x) {
  return __double2half(x);
}
template <>
__device__ __nv_bfloat16 rounded<__nv_bfloat16>(double x) {
  return __double2bfloat16(x);
}

template <class T>
__global__ void fill(FillNormal f, std::int64_t count) {
  T* const out = static_cast<T*>(f.out);
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x)
    out[index_in(f.local, i)] =
        rounded<T>(f.scale * normal(static_cast<std::uint64_t>(index_in(f.global, i)), f.stream));
}

} // namespace

void fill_normal(const FillNormal& f, cudaStream_t stream) {
  std::int64_t count = 1;
  for (int axis = 0; axis < f.global.axes; ++axis) count *= f.global.size[axis];
  if (count == 0) return;
  constexpr int threads = 256;
  const std::int64_t wanted = (count + threads - 1) / threads, most = static_cast<std::int64_t>(multiprocessors()) * 16;
  const auto blocks = static_cast<unsigned>(wanted < most ? wanted : most);
  if (f.fp64) {
    fill<double><<<blocks, threads, 0, stream>>>(f, count);
    return;
  }
  dispatch(f.type, [&]<class T>(T) { fill<T><<<blocks, threads, 0, stream>>>(f, count); });
}

} // namespace conclave::cuda
