// bench_gpu_grouped: grouped products of our kernels beside LibTorch's, and one dense product of as much work, in TFLOP/s.
//
//   bench_gpu_grouped [--rows 65536] [--experts 16] [--width 2048] [--expert-width 1408]      by default shape R1 at batch 8
//
// `taken` is what the operators take on this GPU: of the two products the one that GpuKernels prefers, of the weight's gradient
// ours. `skewed`: the fullest expert has 8 times the rows of the emptiest.
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <CLI/CLI.hpp>

#include <map>

#include "bench.hpp"
#include "ops/gpu_kernels.hpp"

namespace {

using namespace conclave;

struct Arguments {
  std::int64_t rows = 65536, experts = 16, width = 2048, hidden = 1408;
  int repeat = 20;
};

at::Tensor ends_of(const Arguments& a, bool skewed) {
  std::vector<double> shares;
  double total = 0, sum = 0;
  for (std::int64_t e = 0; e < a.experts; ++e) {
    shares.push_back(skewed ? 1 + 7.0 * static_cast<double>(e) / static_cast<double>(a.experts - 1) : 1);
    total += shares.back();
  }
  std::vector<std::int32_t> ends;
  for (const double share : shares) {
    sum += share;
    ends.push_back(static_cast<std::int32_t>(static_cast<double>(a.rows) * sum / total + 0.5));
  }
  return at::tensor(ends, at::kInt).to(at::kCUDA);
}

void measure(const Arguments& a, const ops::GpuKernels& kernels, at::ScalarType type) {
  const std::string name = type == at::kHalf ? "fp16" : "bf16";
  const auto options = at::TensorOptions().device(at::kCUDA).dtype(type);
  const at::Tensor x = at::randn({a.rows, a.width}, options), h = at::randn({a.rows, 2 * a.hidden}, options);
  const at::Tensor weight = at::randn({a.experts, 2 * a.hidden, a.width}, options), one = weight.select(0, 0);
  const at::Tensor to_hidden = at::empty_like(h), to_width = at::empty_like(x);
  const at::Tensor sum = at::zeros(weight.sizes(), options.dtype(at::kFloat));
  const double flops = 2.0 * static_cast<double>(a.rows * a.width * 2 * a.hidden);
  std::vector<std::string> names;
  std::vector<std::function<void()>> bodies;
  const auto add = [&](const std::string& what, const std::function<void()>& body) {
    names.push_back(what);
    bodies.push_back(body);
  };
  std::vector<std::pair<std::string, std::string>> taken; // of two figures, the one that the operators take
  add("dense." + name + ".forward", [&] { at::mm(x, one.t()); });
  add("dense." + name + ".dgrad", [&] { at::mm(h, one); });
  add("dense." + name + ".wgrad", [&] { at::mm(h.t(), x); });
  for (const bool skewed : {false, true}) {
    const std::string base = std::string(skewed ? "skewed." : "balanced.") + name;
    const at::Tensor ends = ends_of(a, skewed);
    const auto both = [&](const std::string& what, bool ours_is_taken, const std::function<void()>& ours,
                          const std::function<void()>& theirs) {
      const std::string line = base + "." + what;
      add(line + ".ours", ours);
      add(line + ".libtorch", theirs);
      taken.emplace_back(line + ".taken", line + (ours_is_taken ? ".ours" : ".libtorch"));
    };
    const bool prefers = kernels.prefers_grouped_product(type);
    both(
        "forward", prefers, [&, ends] { kernels.grouped_product(x, weight, ends, true, to_hidden); },
        [&, ends] { at::_grouped_mm(x, weight.transpose(1, 2), ends); });
    both(
        "dgrad", prefers, [&, ends] { kernels.grouped_product(h, weight, ends, false, to_width); },
        [&, ends] { at::_grouped_mm(h, weight, ends); });
    both( // theirs not into fp32
        "wgrad", true, [&, ends] { kernels.grouped_weight_gradient(h, x, ends, sum, false); },
        [&, ends] { at::_grouped_mm(h.t(), x, ends); });
    both(
        "wgrad_added", true, [&, ends] { kernels.grouped_weight_gradient(h, x, ends, sum, true); },
        [&, ends] { sum.add_(at::_grouped_mm(h.t(), x, ends)); });
  }
  const std::vector<double> seconds = bench::gpu_seconds_in_turn(a.repeat, 4, bodies);
  std::map<std::string, double> rates;
  for (std::size_t i = 0; i < names.size(); ++i) {
    rates[names[i]] = flops / seconds[i] / 1e12;
    bench::figure(names[i], rates[names[i]], "TFLOP/s", a.repeat);
  }
  for (const auto& [line, of] : taken) bench::figure(line, rates[of], "TFLOP/s", a.repeat);
}

void run(const Arguments& arguments) {
  bench::open_gpu();
  const ops::GpuKernels* kernels = ops::gpu_kernels();
  if (kernels == nullptr || !kernels->has_grouped())
    bench::fail(
        unsupported("libconclave_cuda.so is missing, or was built without CUTLASS", "run tools/bootstrap and build"));
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) measure(arguments, *kernels, type);
}

} // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"Grouped products on one GPU", "bench_gpu_grouped"};
  app.add_option("--rows", arguments.rows, "Of all experts")->capture_default_str();
  app.add_option("--experts", arguments.experts, "At least 2")->check(CLI::Range(2, 8192))->capture_default_str();
  app.add_option("--width", arguments.width, "Of a token")->capture_default_str();
  app.add_option("--expert-width", arguments.hidden, "Of an expert")->capture_default_str();
  app.add_option("--repeat", arguments.repeat, "Measurements of each figure")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  bench::run_and_exit([&] { run(arguments); });
}
