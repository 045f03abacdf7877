// bench_gpu_layer: a MoE layer (router, experts) and the linear cross entropy, forward and backward with the operators as a model
// calls them, in bf16 with fp32 main gradients, on one GPU.
//
// The layer is R1's at batch 8. The loss has T=8192 tokens, D=2048 and V=102400; its peak is what the allocator gave out beside
// inputs, weight and main gradient.
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <CLI/CLI.hpp>

#include "bench.hpp"
#include "conclave/ops/cross_entropy.hpp"
#include "conclave/ops/experts.hpp"
#include "conclave/ops/linear.hpp"
#include "conclave/ops/router.hpp"

namespace {

using namespace conclave;

at::Tensor leaf(at::IntArrayRef shape, double scale, at::ScalarType type = at::kBFloat16) {
  return at::randn(shape, at::TensorOptions().device(at::kCUDA).dtype(type)).mul_(scale).set_requires_grad(true);
}

/// A weight with a main gradient, as the host would hold it.
struct Weight {
  GradSink sink;
  at::Tensor value;

  explicit Weight(const at::Tensor& v) : value(v) {
    sink.gradient = at::empty(v.sizes(), v.options().dtype(at::kFloat));
  }
  [[nodiscard]] BoundParam bound() { return {value, &sink}; }
};

void moe_layer(int repeat) {
  constexpr std::int64_t sequences = 8, tokens = sequences * 4096, width = 2048, experts = 16, hidden = 1408;
  at::Tensor x = leaf({tokens, width}, 1);
  const at::Tensor dy = at::randn_like(x).set_requires_grad(false);
  Weight router(leaf({experts, width}, 0.02, at::kFloat)), gate_up(leaf({experts, 2 * hidden, width}, 0.02)),
      down(leaf({experts, width, hidden}, 0.02));
  const at::Tensor seed = at::full({}, 1e-6, dy.options().dtype(at::kFloat));
  const double seconds = bench::gpu_seconds(repeat, 4, [&] {
    x.mutable_grad().reset();
    for (Weight* weight : {&router, &gate_up, &down}) weight->sink.begin_step();
    const ops::Routing routing = ops::route(ops::wide_linear(x, router.bound()), {}, {}, sequences, {});
    const at::Tensor y = ops::swiglu_experts(x, routing.weights, routing.experts, gate_up.bound(), down.bound());
    torch::autograd::backward({y, routing.balance_loss, routing.z_loss}, {dy, seed, seed});
  });
  bench::figure("moe", 1e3 * seconds, "ms", repeat);
}

void linear_loss(int repeat) {
  constexpr std::int64_t tokens = 8192, width = 2048, vocabulary = 102400;
  at::Tensor hidden = leaf({tokens, width}, 1);
  Weight head(leaf({vocabulary, width}, 0.02));
  const auto options = at::TensorOptions().device(at::kCUDA);
  const at::Tensor labels = at::randint(vocabulary, {tokens}, options.dtype(at::kLong)),
                   mask = at::ones({tokens}, options.dtype(at::kBool)),
                   seed = at::full({}, 1.0 / tokens, options.dtype(at::kFloat));
  const std::int64_t before = bench::bytes_in_use();
  bench::forget_peak();
  const double seconds = bench::gpu_seconds(repeat, 1, [&] {
    hidden.mutable_grad().reset();
    head.sink.begin_step();
    torch::autograd::backward({ops::cross_entropy(hidden, head.bound(), labels, mask, {}).loss_sum}, {seed});
  });
  bench::figure("loss", 1e3 * seconds, "ms", repeat);
  bench::figure("loss.peak", static_cast<double>(bench::peak_bytes() - before) / (1 << 30), "GiB", 1);
}

} // namespace

int main(int argc, char** argv) {
  int repeat = 20;
  CLI::App app{"A MoE layer and the linear cross entropy on one GPU", "bench_gpu_layer"};
  app.add_option("--repeat", repeat, "Measurements of each figure")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  bench::run_and_exit([&] {
    bench::open_gpu();
    moe_layer(repeat);
    linear_loss(repeat);
  });
}
