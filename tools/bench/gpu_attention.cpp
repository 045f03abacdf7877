// bench_gpu_attention: attention of our kernels beside LibTorch's, on one GPU, in bf16 with 16 query and 4 key heads of 128.
//
//   bench_gpu_attention [--repeat 10]
//
//   causal.*      8 rows of 4096 tokens, TFLOP/s of half the scores; backward counts 2.5 times forward
//   window.*      2 rows of 10240 tokens that see 512, 1024 or 2048; TFLOP/s of the scores that they see
//   documents.*   2 rows of 10240 tokens in 10 equal documents, and in lengths from 20 tokens to 4000; milliseconds
//   hierarchy.*   2 rows of 10240 tokens through three layers that see 1024 and one that sees all, and through four that see all: how
//                 many times faster the first is, and how many times less it has to compute; forward and backward
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/tensor.h>
#include <torch/csrc/autograd/autograd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "bench.hpp"
#include "conclave/ops/attention.hpp"
#include "ops/gpu_kernels.hpp"

namespace {

using namespace conclave;

constexpr std::int64_t heads = 16, kv_heads = 4, width = 128, long_length = 10240, long_rows = 2;

/// Scores of a head in a row of `length`, times the operations that each takes forward, for all heads and rows.
double forward_flops(std::int64_t rows, std::int64_t length, std::int64_t window) {
  const auto n = static_cast<double>(length), w = static_cast<double>(window > 0 ? std::min(window, length) : length);
  return static_cast<double>(rows * heads) * (w * (w + 1) / 2 + (n - w) * w) * 4 * static_cast<double>(width);
}

struct Inputs {
  at::Tensor query, key, value, dout;
  Inputs(std::int64_t rows, std::int64_t length) {
    const auto options = at::TensorOptions().device(at::kCUDA).dtype(at::kBFloat16);
    query = at::randn({rows, length, heads, width}, options).requires_grad_();
    key = at::randn({rows, length, kv_heads, width}, options).requires_grad_();
    value = at::randn({rows, length, kv_heads, width}, options).requires_grad_();
    dout = at::randn({rows, length, heads, width}, options);
  }
};

using Attention = std::function<at::Tensor(const Inputs&)>;

class Bench {
 public:
  explicit Bench(int repeat) : repeat_(repeat) {}

  void causal() const {
    const Inputs x(8, 4096);
    const double flops = forward_flops(8, 4096, 0);
    rates("causal.ours", x, flops, ours(x, {}, 0));
    rates("causal.libtorch", x, flops, [](const Inputs& in) { // what it chooses: cuDNN on Hopper
      return at::scaled_dot_product_attention(in.query.transpose(1, 2), in.key.transpose(1, 2),
                                              in.value.transpose(1, 2), std::nullopt, 0.0, true, std::nullopt, true)
          .transpose(1, 2);
    });
    rates("causal.libtorch_flash", x, flops, [](const Inputs& in) {
      return std::get<0>(at::_flash_attention_forward(in.query, in.key, in.value, {}, {}, in.query.size(1),
                                                      in.key.size(1), 0.0, true, false));
    });
  }

  void windows() const {
    const Inputs x(long_rows, long_length);
    for (const std::int64_t window : {512, 1024, 2048}) {
      const double flops = forward_flops(long_rows, long_length, window);
      const std::string name = "window." + std::to_string(window);
      rates(name + ".ours", x, flops, ours(x, {}, window));
      rates(name + ".libtorch_flash", x, flops, [window](const Inputs& in) {
        return std::get<0>(at::_flash_attention_forward(in.query, in.key, in.value, {}, {}, in.query.size(1),
                                                        in.key.size(1), 0.0, true, false, std::nullopt, window - 1, 0));
      });
    }
  }

  void documents() const {
    const Inputs x(long_rows, long_length);
    const std::vector<std::pair<std::string, std::vector<std::int64_t>>> texts{
        {"equal", std::vector<std::int64_t>(10, 1024)},
        {"mixed", {4000, 20, 310, 1500, 90, 45, 800, 1700, 150, 600, 1025}}};
    for (const auto& [name, lengths] : texts) {
      const at::Tensor ids = ids_of(lengths);
      times("documents." + name + ".ours", x, ours(x, ids, 0));
      ops::AttentionMask dense;
      // What LibTorch takes; the kernels would take this mask for a causal one.
      dense.segment_ids = ids;
      dense.dense =
          ids.view({1, 1, -1, 1}).eq(ids.view({1, 1, 1, -1})).tril().expand({long_rows, 1, -1, -1}).contiguous();
      times("documents." + name + ".dense_mask", x,
            [dense](const Inputs& in) { return ops::attention(in.query, in.key, in.value, dense); });
    }
  }

  void hierarchy() const {
    const Inputs x(long_rows, long_length);
    const auto step = [&](std::int64_t window) {
      const Attention run = ours(x, {}, window);
      return bench::gpu_seconds(repeat_, 2, [&] { backward(x, run(x)); });
    };
    const double local = step(1024), global = step(0);
    const double less = forward_flops(long_rows, long_length, 1024), all = forward_flops(long_rows, long_length, 0);
    bench::figure("hierarchy.faster", 4 * global / (3 * local + global), "times", repeat_);
    bench::figure("hierarchy.less_to_compute", 4 * all / (3 * less + all), "times", 1);
  }

 private:
  static at::Tensor ids_of(const std::vector<std::int64_t>& lengths) {
    std::vector<std::int32_t> ids;
    for (std::size_t i = 0; i < lengths.size(); ++i)
      ids.insert(ids.end(), static_cast<std::size_t>(lengths[i]), static_cast<std::int32_t>(i));
    ids.resize(static_cast<std::size_t>(long_length), static_cast<std::int32_t>(lengths.size()));
    return at::tensor(ids, at::kInt).to(at::kCUDA);
  }

  /// The operator as a model calls it. `ids` [S] or undefined.
  static Attention ours(const Inputs& x, const at::Tensor& ids, std::int64_t window) {
    const at::Tensor segments = ids.defined() ? ids.expand({x.query.size(0), -1}).contiguous() : at::Tensor{};
    const ops::AttentionMask mask = ops::make_attention_mask(x.query.detach(), segments, window);
    return [mask](const Inputs& in) { return ops::attention(in.query, in.key, in.value, mask); };
  }

  static void backward(const Inputs& x, const at::Tensor& out) {
    torch::autograd::grad({out}, {x.query, x.key, x.value}, {x.dout}, true);
  }

  struct Seconds {
    double forward, backward;
  };
  Seconds measure(const Inputs& x, const Attention& attention) const {
    const at::Tensor out = attention(x);
    return {bench::gpu_seconds(repeat_, 4, [&] { attention(x); }),
            bench::gpu_seconds(repeat_, 4, [&] { backward(x, out); })};
  }
  void rates(const std::string& name, const Inputs& x, double flops, const Attention& attention) const {
    const Seconds seconds = measure(x, attention);
    bench::figure(name + ".forward", flops / seconds.forward / 1e12, "TFLOP/s", repeat_);
    bench::figure(name + ".backward", 2.5 * flops / seconds.backward / 1e12, "TFLOP/s", repeat_);
  }
  void times(const std::string& name, const Inputs& x, const Attention& attention) const {
    const Seconds seconds = measure(x, attention);
    bench::figure(name + ".forward", seconds.forward * 1e3, "ms", repeat_);
    bench::figure(name + ".backward", seconds.backward * 1e3, "ms", repeat_);
  }

  int repeat_;
};

void run(int repeat) {
  bench::open_gpu();
  const ops::GpuKernels* kernels = ops::gpu_kernels();
  if (kernels == nullptr || !kernels->has_segments())
    bench::fail(unsupported("libconclave_cuda.so is missing, was built without cuDNN, or this GPU is older than Hopper",
                            "run tools/bootstrap --cuda and build"));
  const Bench bench(repeat);
  bench.causal();
  bench.windows();
  bench.documents();
  bench.hierarchy();
}

} // namespace

int main(int argc, char** argv) {
  int repeat = 10;
  CLI::App app{"Attention on one GPU", "bench_gpu_attention"};
  app.add_option("--repeat", repeat, "Measurements of each figure")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  bench::run_and_exit([&] { run(repeat); });
}
