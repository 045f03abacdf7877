// AdamW on flat tensors.
//
// Bytes that must move for each element: 16 read (gradient, master, two moments), 12 written, 2 for the rounded value.

#include "adamw.hpp"

#include "dispatch.cuh"

namespace conclave::cuda {
namespace {

struct Factors {
  float gradient_scale, decay, step_size, root, beta1, beta2, eps; ///< root = 1 / sqrt(1 - beta2^t)
};

__device__ inline float updated(const Factors& f, float master, float gradient, float& average, float& square) {
  const float g = gradient * f.gradient_scale;
  average += (1 - f.beta1) * (g - average);
  square = f.beta2 * square + (1 - f.beta2) * g * g;
  // Not a product with 1 - decay, whose rounding every step would repeat.
  return master - f.decay * master - f.step_size * average / (sqrtf(square) * f.root + f.eps);
}

__device__ inline Factors factors_of(const AdamW& u) {
  const double t = *u.step, rate = *u.learning_rate;
  return {*u.gradient_scale,
          static_cast<float>(rate * u.weight_decay),
          static_cast<float>(rate / (1 - pow(u.beta1, t))),
          static_cast<float>(1 / sqrt(1 - pow(u.beta2, t))),
          static_cast<float>(u.beta1),
          static_cast<float>(u.beta2),
          static_cast<float>(u.eps)};
}

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T values[4];
};

/// `vectors`: how many groups of 4 are taken at once; 0 for tensors that do not start on 16 bytes.
template <class T>
__global__ void update(AdamW u, std::int64_t vectors) {
  __shared__ Factors shared;
  if (*u.apply == 0) return;
  if (threadIdx.x == 0) shared = factors_of(u);
  __syncthreads();
  const Factors f = shared;
  T* const value = static_cast<T*>(u.value);
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (std::int64_t i = first; i < vectors; i += threads) {
    float4 p = reinterpret_cast<const float4*>(u.master)[i], m = reinterpret_cast<const float4*>(u.average)[i],
           v = reinterpret_cast<const float4*>(u.square)[i];
    const float4 g = reinterpret_cast<const float4*>(u.gradient)[i];
    p.x = updated(f, p.x, g.x, m.x, v.x);
    p.y = updated(f, p.y, g.y, m.y, v.y);
    p.z = updated(f, p.z, g.z, m.z, v.z);
    p.w = updated(f, p.w, g.w, m.w, v.w);
    reinterpret_cast<float4*>(u.master)[i] = p;
    reinterpret_cast<float4*>(u.average)[i] = m;
    reinterpret_cast<float4*>(u.square)[i] = v;
    if (value != nullptr)
      reinterpret_cast<Four<T>*>(value)[i] = {
          {from_float<T>(p.x), from_float<T>(p.y), from_float<T>(p.z), from_float<T>(p.w)}};
  }
  for (std::int64_t i = 4 * vectors + first; i < u.count; i += threads) {
    const float p = updated(f, u.master[i], u.gradient[i], u.average[i], u.square[i]);
    u.master[i] = p;
    if (value != nullptr) value[i] = from_float<T>(p);
  }
}

bool aligned(const void* p, std::uintptr_t to) { return reinterpret_cast<std::uintptr_t>(p) % to == 0; }

} // namespace

void adamw(const AdamW& u, cudaStream_t stream) {
  if (u.count == 0) return;
  constexpr int threads = 512;
  const std::int64_t wanted = (u.count / 4 + threads) / threads;
  const std::int64_t most = static_cast<std::int64_t>(multiprocessors()) * 4;
  const auto blocks = static_cast<unsigned>(wanted < most ? wanted : most);
  const bool whole = aligned(u.master, 16) && aligned(u.gradient, 16) && aligned(u.average, 16) &&
                     aligned(u.square, 16) && aligned(u.value, 16);
  dispatch(u.value_type, [&]<class T>(T) { update<T><<<blocks, threads, 0, stream>>>(u, whole ? u.count / 4 : 0); });
}

} // namespace conclave::cuda
