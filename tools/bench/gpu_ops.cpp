// bench_gpu_ops: the kernels that memory bounds, in bytes a second, beside a copy of this GPU.
//
//   bench_gpu_ops [--ceilings]      with it only the copy and the best bf16 product
//
// Sizes are those of shape R1 at batch 8, in bf16. Bytes are those that must move, as each kernel's source states them
// (sdk/cuda/*.cu). Each kernel works on two sets of tensors in turn, larger than the L2 cache.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randn_like.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/zeros.h>

#include <CLI/CLI.hpp>

#include "bench.hpp"
#include "conclave/ops/rotary.hpp"
#include "ops/gpu_kernels.hpp"

namespace {

using namespace conclave;
using Body = std::function<void()>;

constexpr std::int64_t sequences = 8, length = 4096, tokens = sequences * length, width = 2048, heads = 16,
                       kv_heads = 4, head_width = 128, experts = 16, top_k = 2, rows = top_k * tokens, hidden = 1408,
                       vocabulary = 32000;
constexpr double bf16 = 2;

at::TensorOptions of(at::ScalarType type) { return at::TensorOptions().device(at::kCUDA).dtype(type); }
at::Tensor values(at::IntArrayRef shape, at::ScalarType type = at::kBFloat16) { return at::randn(shape, of(type)); }
double count(std::initializer_list<std::int64_t> sizes) {
  double product = 1;
  for (const std::int64_t size : sizes) product *= static_cast<double>(size);
  return product;
}

class Bench {
 public:
  Bench(const ops::GpuKernels& kernels, int repeat) : k_(kernels), repeat_(repeat) {}

  void norm() {
    const double bytes = count({tokens, width}) * bf16;
    measure("rms_norm", 2 * bytes, [this]() -> Body {
      const at::Tensor x = values({tokens, width}), y = at::empty_like(x), weight = values({width}, at::kFloat),
                       scale = at::empty({tokens}, of(at::kFloat));
      return [=, this] { k_.rms_norm(x, weight, 1e-6, y, scale); };
    });
    measure("rms_norm_residual_backward", 4 * bytes, [this]() -> Body {
      const at::Tensor dy = values({tokens, width}), x = at::randn_like(dy), addend = at::randn_like(dy),
                       dx = at::empty_like(dy), weight = values({width}, at::kFloat), dweight = at::empty_like(weight),
                       scale = at::rand({tokens}, of(at::kFloat));
      return [=, this] { k_.rms_norm_backward(dy, x, weight, scale, addend, dx, dweight, false); };
    });
  }

  void rotary() {
    const double bytes = count({tokens, heads + 2 * kv_heads, head_width}) * bf16,
                 normed = count({tokens, heads + kv_heads, head_width}) * bf16;
    const ops::RotaryTable table =
        ops::make_rotary_table(length, head_width, 10000, at::kBFloat16, at::Device(at::kCUDA, 0));
    const at::Tensor positions = at::arange(length, of(at::kLong)).expand({sequences, length}).contiguous();
    const ops::GpuKernels::RotaryInputs in{
        positions, table.cos, table.sin, values({head_width}, at::kFloat), values({head_width}, at::kFloat), 1e-6};
    const auto qkv = [] { return values({sequences, length, (heads + 2 * kv_heads) * head_width}); };
    const auto head = [](std::int64_t n) { return values({sequences, length, n, head_width}); };
    measure("rotary_qk_norm", 2 * bytes, [&, this]() -> Body {
      const at::Tensor x = qkv(), q = head(heads), k = head(kv_heads), v = head(kv_heads);
      return [=, this] { k_.split_rotary(x, in, q, k, v); };
    });
    measure("rotary_qk_norm_backward", 2 * bytes + normed, [&, this]() -> Body {
      const at::Tensor x = qkv(), dx = at::empty_like(x), dq = head(heads), dk = head(kv_heads), dv = head(kv_heads),
                       dquery_weight = values({head_width}, at::kFloat), dkey_weight = at::empty_like(dquery_weight);
      return [=, this] {
        k_.split_rotary_backward(dq, dk, dv, x, in, dx, {dquery_weight, false}, {dkey_weight, false});
      };
    });
  }

  void gate() {
    const double bytes = count({tokens, heads, head_width}) * bf16;
    measure("head_gate", 2 * bytes, [this]() -> Body {
      const at::Tensor x = values({tokens, heads, head_width}), y = at::empty_like(x), logits = values({tokens, heads});
      return [=, this] { k_.head_gate(x, logits, y); };
    });
    measure("head_gate_backward", 3 * bytes, [this]() -> Body {
      const at::Tensor x = values({tokens, heads, head_width}), dy = at::randn_like(x), dx = at::empty_like(x),
                       logits = values({tokens, heads}), dlogits = at::empty_like(logits);
      return [=, this] { k_.head_gate_backward(dy, x, logits, dx, dlogits); };
    });
  }

  void expert_rows() {
    // Distinct choices, as a router makes them.
    const at::Tensor choices =
        at::rand({tokens, experts}, of(at::kFloat)).argsort(std::int64_t{1}).narrow(1, 0, top_k).contiguous();
    const at::Tensor pair = at::empty({rows}, of(at::kLong)), source = at::empty_like(pair),
                     position = at::empty({tokens, top_k}, of(at::kLong)), ends = at::empty({experts}, of(at::kInt));
    k_.sort_by_expert(choices, pair, source, position, ends);
    const double bytes = count({rows, width}) * bf16;
    measure("permute", 2 * bytes, [&, this]() -> Body {
      const at::Tensor x = values({tokens, width}), y = at::empty({rows, width}, x.options());
      return [=, this] { k_.gather_rows(x, source, y); };
    });
    measure("combine", (1 + 2.0 / top_k) * bytes, [&, this]() -> Body {
      const at::Tensor x = values({rows, width}), addend = values({tokens, width}), y = at::empty_like(addend);
      return [=, this] { k_.sum_choices(x, position, addend, y); };
    });
  }

  void swiglu() {
    const double bytes = count({rows, hidden}) * bf16;
    measure("swiglu", 3 * bytes, [this]() -> Body {
      const at::Tensor x = values({rows, 2 * hidden}), weights = at::rand({rows}, of(at::kFloat)),
                       pair = at::randperm(rows, of(at::kLong)), y = at::empty({rows, hidden}, x.options());
      return [=, this] { k_.swiglu(x, {weights, pair}, y); };
    });
    measure("swiglu_backward", 6 * bytes, [this]() -> Body {
      const at::Tensor x = values({rows, 2 * hidden}), dx = at::empty_like(x), dy = values({rows, hidden}),
                       y = at::empty_like(dy), weights = at::rand({rows}, of(at::kFloat)),
                       pair = at::randperm(rows, of(at::kLong)), dweights = at::empty_like(weights);
      return [=, this] { k_.swiglu_backward(dy, x, {weights, pair}, dx, y, dweights); };
    });
  }

  void cross_entropy() {
    constexpr std::int64_t chunk = 4096; // rows that the operator takes at a time
    measure("cross_entropy", count({chunk, vocabulary}) * (4 + bf16), [this]() -> Body {
      const at::Tensor logits = values({chunk, vocabulary}, at::kFloat), loss = at::empty({chunk}, of(at::kFloat)),
                       nll = at::empty_like(loss), gradient = at::empty({chunk, vocabulary}, of(at::kBFloat16)),
                       labels = at::randint(vocabulary, {chunk}, of(at::kLong)),
                       mask = at::ones({chunk}, of(at::kBool));
      return [=, this] { k_.cross_entropy(logits, labels, mask, 0, 0, loss, nll, gradient); };
    });
  }

  void adamw() {
    constexpr std::int64_t n = std::int64_t{1} << 27;
    measure("adamw", 30.0 * n, [this]() -> Body {
      const at::Tensor master = values({n}, at::kFloat);
      const ops::GpuKernels::AdamWTensors tensors{master, at::randn_like(master), at::randn_like(master),
                                                  at::rand({n}, of(at::kFloat)), at::empty({n}, of(at::kBFloat16))};
      const auto scalar = [](double value) { return at::full({}, value, of(at::kFloat)); };
      const ops::GpuKernels::AdamWScalars scalars{scalar(1e-4), scalar(10), scalar(1), scalar(1)};
      return [=, this] { k_.adamw(tensors, scalars, {0.9, 0.98, 1e-6, 0.1}); };
    });
  }

 private:
  /// `make` makes tensors and gives what works on them.
  void measure(const std::string& name, double bytes, const std::function<Body()>& make) {
    const Body sets[] = {make(), make()};
    std::size_t next = 0;
    const double seconds = bench::gpu_seconds(repeat_, 10, [&] { sets[next++ % 2](); });
    bench::figure(name, bytes / seconds / 1e12, "TB/s", repeat_);
  }

  const ops::GpuKernels& k_;
  int repeat_;
};

void run(int repeat, bool ceilings) {
  bench::open_gpu();
  bench::figure("copy", bench::copy_bandwidth(repeat) / 1e12, "TB/s", repeat);
  if (ceilings) {
    bench::figure("matmul", bench::matmul_ceiling(std::min(repeat, 10)) / 1e12, "TFLOP/s", std::min(repeat, 10));
    return;
  }
  const ops::GpuKernels* kernels = ops::gpu_kernels();
  if (kernels == nullptr)
    bench::fail(unsupported("libconclave_cuda.so is missing", "run tools/bootstrap --nvcc and build"));
  Bench measured(*kernels, repeat);
  measured.norm();
  measured.rotary();
  measured.gate();
  measured.expert_rows();
  measured.swiglu();
  measured.cross_entropy();
  measured.adamw();
}

} // namespace

int main(int argc, char** argv) {
  int repeat = 20;
  bool ceilings = false;
  CLI::App app{"Kernels that memory bounds, on one GPU", "bench_gpu_ops"};
  app.add_option("--repeat", repeat, "Measurements of each figure")->capture_default_str();
  app.add_flag("--ceilings", ceilings, "Only the copy and the best bf16 product");
  CLI11_PARSE(app, argc, argv);
  bench::run_and_exit([&] { run(repeat, ceilings); });
}
