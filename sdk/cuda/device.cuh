// What every kernel here is made of: 16-byte vectors of a type, their numbers in fp32, and sums over a warp or a block.
//
// Kernels are written for a type T (float, __half, __nv_bfloat16) and compute in fp32; a number is rounded once, when stored.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace conclave::cuda {

inline constexpr int warp = 32;

/// How many T are 16 bytes.
template <class T>
inline constexpr int per_vector = 16 / static_cast<int>(sizeof(T));

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// 16 bytes of T, as loaded and stored.
template <class T>
union Vector {
  uint4 bits;
  T values[per_vector<T>];
  __device__ Vector() {}
};

/// `index` counts vectors. Loads that wait for memory are kept packed: numbers take the registers of more of them.
template <class T>
__device__ inline Vector<T> fetch(const T* from, std::int64_t index) {
  Vector<T> v;
  v.bits = reinterpret_cast<const uint4*>(from)[index];
  return v;
}

template <class T>
__device__ inline void unpack(const Vector<T>& v, float (&to)[per_vector<T>]) {
#pragma unroll
  for (int i = 0; i < per_vector<T>; ++i) to[i] = to_float(v.values[i]);
}

template <class T>
__device__ inline void load(const T* from, std::int64_t index, float (&to)[per_vector<T>]) {
  unpack(fetch(from, index), to);
}

/// n fp32 numbers that stand beside the `index`th vector of n: weights, tables.
template <int n>
__device__ inline void load_floats(const float* from, std::int64_t index, float (&to)[n]) {
  static_assert(n % 4 == 0);
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    const float4 four = reinterpret_cast<const float4*>(from + index * n)[i / 4];
    to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
  }
}

template <class T>
__device__ inline Vector<T> pack(const float (&from)[per_vector<T>]) {
  Vector<T> v;
#pragma unroll
  for (int i = 0; i < per_vector<T>; ++i) v.values[i] = from_float<T>(from[i]);
  return v;
}

template <class T>
__device__ inline void store(T* to, std::int64_t index, const float (&from)[per_vector<T>]) {
  reinterpret_cast<uint4*>(to)[index] = pack<T>(from).bits;
}

/// Of what nobody reads again soon: leaves the caches to others.
template <class T>
__device__ inline Vector<T> fetch_once(const T* from, std::int64_t index) {
  Vector<T> v;
  v.bits = __ldcs(reinterpret_cast<const uint4*>(from) + index);
  return v;
}
template <class T>
__device__ inline void store_once(T* to, std::int64_t index, const float (&from)[per_vector<T>]) {
  __stcs(reinterpret_cast<uint4*>(to) + index, pack<T>(from).bits);
}

/// Over each `lanes` lanes (a power of 2) that stand together; without a branch, so that several sums overlap.
__device__ inline float warp_sum(float x, int lanes = warp) {
#pragma unroll
  for (int distance = warp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, x, distance);
    x += distance < lanes ? other : 0.0F;
  }
  return x;
}

/// The sum over the block's threads, in every thread and always in the same order. `scratch` holds 33 floats of shared memory and
/// may be used again at once: the call begins and ends with all threads together.
__device__ inline float block_sum(float x, float* scratch) {
  const int lane = static_cast<int>(threadIdx.x) % warp, number = static_cast<int>(threadIdx.x) / warp;
  const int warps = (static_cast<int>(blockDim.x) + warp - 1) / warp;
  x = warp_sum(x);
  if (warps == 1) return x;
  __syncthreads();
  if (lane == 0) scratch[number] = x;
  __syncthreads();
  return warp_sum(lane < warps ? scratch[lane] : 0.0F);
}

} // namespace conclave::cuda
