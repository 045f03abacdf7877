// Sums of ones.

#include "doctor/all_reduce.hpp"

#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>

#include "launch/groups.hpp"

namespace conclave::doctor {
namespace {

constexpr std::int64_t gpu_floats = 64 << 20, cpu_floats = 1 << 20;
constexpr int unmeasured = 5, measured = 15;

struct Timed {
  double rate = 0; ///< bytes a second over the bus, the median
  bool right = true;
};

Timed all_reduce_ones(Group& world, const Device& device) {
  const bool gpu = device.kind == Device::Kind::cuda;
  const at::Device place =
      gpu ? at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index)) : at::Device(at::kCPU);
  const at::Tensor tensor = at::ones({gpu ? gpu_floats : cpu_floats}, at::device(place).dtype(at::kFloat));
  const auto finish = [&] {
    if (gpu) at::detail::getCUDAHooks().deviceSynchronize(place.index());
  };
  for (int i = 0; i < unmeasured; ++i) { // it connects, and clocks rise
    tensor.fill_(1);
    world.all_reduce(tensor).wait();
  }
  finish();
  Timed timed;
  std::array<double, measured> seconds{};
  for (double& round : seconds) {
    tensor.fill_(1);
    finish();
    const auto begin = std::chrono::steady_clock::now();
    world.all_reduce(tensor).wait();
    finish();
    round = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    timed.right = timed.right && tensor.eq(static_cast<double>(world.size())).all().item<bool>();
  }
  std::nth_element(seconds.begin(), seconds.begin() + measured / 2, seconds.end());
  const double bus = 2.0 * (world.size() - 1) / world.size() * static_cast<double>(tensor.nbytes());
  timed.rate = bus / seconds[measured / 2];
  return timed;
}

} // namespace

AllReduce measure_all_reduce(Rendezvous& rendezvous, DeviceChoice choice, std::chrono::milliseconds timeout,
                             const Expectation& expected) {
  const RankInfo& ranks = rendezvous.settings().ranks;
  const std::string name = "all-reduce";
  const auto fail = [&](const Error& error) { return AllReduce{{name, Verdict::fail, error.what, error.fix}, false}; };
  const auto opened = open_device(choice, ranks.local_rank, false);
  // Nobody may wait for a rank that has no device.
  const auto kinds = rendezvous.exchange("device", !opened.ok()                                ? "none"
                                                   : opened->device.kind == Device::Kind::cuda ? "GPU"
                                                                                               : "CPU");
  if (!opened.ok()) return fail(opened.error());
  if (!kinds.ok()) return fail(kinds.error());
  for (std::size_t rank = 1; rank < kinds->size(); ++rank)
    if ((*kinds)[rank] != kinds->front())
      return fail(
          unsupported("rank 0 has " + kinds->front() + " and rank " + std::to_string(rank) + " has " + (*kinds)[rank],
                      "give every rank the same kind of device (--device cpu?)"));
  const ParallelSizes all_data;
  const auto mesh = resolve_mesh(all_data, ranks.world_size, ranks.rank);
  if (!mesh.ok()) return fail(mesh.error());
  const auto groups = make_groups(rendezvous, *mesh, ranks, opened->device, timeout, nullptr);
  if (!groups.ok()) return fail(groups.error());
  Timed timed;
  try {
    timed = all_reduce_ones((*groups)->world(), opened->device);
  } catch (const std::exception& problem) {
    const std::string text = problem.what();
    return {{name, Verdict::fail, text.substr(0, text.find('\n')),
             "NCCL_DEBUG=INFO says what it tries; NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME choose the network"},
            true};
  }
  if (!timed.right)
    return fail(unsupported("wrong sums", "a GPU or a link changes bits: run it on half of the ranks to find which"));
  const std::string figure = number_text(timed.rate / 1e9) + " GB/s over " + std::to_string(ranks.world_size) + " " +
                             kinds->front() + " ranks";
  if (!expected.all_reduce_GBps) return {{name, Verdict::ok, figure, ""}, false};
  return {
      at_least(name, timed.rate / 1e9, *expected.all_reduce_GBps, figure,
               number_text(*expected.all_reduce_GBps) + " GB/s",
               "look at NVLink within a machine, and at the network cards that NCCL_DEBUG=INFO names between machines"),
      false};
}

} // namespace conclave::doctor
