// conclave verify: does an experiment compute the same run under every layout of ranks?

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.hpp"
#include "run/assemble.hpp"
#include "run/verify.hpp"

namespace conclave {
namespace {

struct VerifyArguments {
  std::string file, compute = "fp64", device = "cpu";
  std::vector<std::string> overrides, layouts;
  std::vector<int> ranks;
  std::int64_t steps = 5;
  double tolerance = 0;
  std::string folder;
};

/// What sums in another order may make of a few steps: last bits in fp64; in narrower types, the noise of rounding.
double default_tolerance(const std::string& compute) {
  if (compute == "fp64") return 1e-9;
  return compute == "fp32" ? 1e-4 : 5e-2;
}

/// Bytes that all ranks sent, by kind: "all_reduce 1.2 MB, all_gather 3.4 MB".
std::string sent_text(const SentByGroup& sent, std::int64_t steps) {
  Traffic total;
  for (const auto& [group, traffic] : sent) total += traffic;
  std::string text;
  for (std::size_t kind = 0; kind < collective_count; ++kind) {
    if (total.calls[kind] == 0) continue;
    char part[96];
    std::snprintf(part, sizeof part, "%s%s %.3g MB", text.empty() ? "" : ", ", to_string(static_cast<Collective>(kind)),
                  total.bytes[kind] / 1e6 / static_cast<double>(steps));
    text += part;
  }
  return text.empty() ? "nothing" : text;
}

/// Where train.micro_batch is left to the layout, a loss that spans a micro-batch is another one on more data ranks: that is
/// no mistake of the model.
void print_micro_batches(const VerifiedLayout& layout, const TrainSection& train) {
  if (train.micro_batch > 0 || layout.data == 1) return;
  std::printf(
      "       its micro-batches have %lld sequences, one rank's %lld: a loss over a micro-batch is another one then; "
      "set train.micro_batch\n",
      static_cast<long long>(train.batch / layout.data), static_cast<long long>(train.batch.value));
}

void print_row(const LayoutVerdict& verdict, const TrainSection& train, std::int64_t steps) {
  const char* word = !verdict.failure.empty() ? "FAILED"
                     : !verdict.same          ? "DIFFERS"
                     : verdict.parted.empty() ? "same"
                                              : "same until routing parts";
  std::printf("%5d  %-22s %9.1e %9.1e %9.1e  %8.0f MB  %-10s %s\n", verdict.layout.ranks(),
              verdict.layout.name().c_str(), verdict.loss_difference, verdict.norm_difference,
              verdict.tensor_difference, static_cast<double>(verdict.peak_memory) / 1e6, word,
              sent_text(verdict.sent, steps).c_str());
  if (!verdict.failure.empty()) std::printf("       %s\n", verdict.failure.c_str());
  if (!verdict.parted.empty()) std::printf("       routing parts at %s\n", verdict.parted.c_str());
  if (verdict.failure.empty() && !verdict.same && !verdict.worst_tensor.empty())
    std::printf("       furthest: %s\n", verdict.worst_tensor.c_str());
  if (verdict.failure.empty() && !verdict.same) print_micro_batches(verdict.layout, train);
  std::fflush(stdout);
}

Result<std::vector<VerifiedLayout>> wanted_layouts(const VerifyArguments& arguments, const Experiment& experiment) {
  std::vector<VerifiedLayout> layouts;
  for (const int ranks : arguments.ranks) {
    if (!arguments.layouts.empty()) {
      for (const std::string& text : arguments.layouts) {
        CONCLAVE_ASSIGN(const VerifiedLayout layout, parse_layout(text, ranks));
        layouts.push_back(layout);
      }
      continue;
    }
    CONCLAVE_ASSIGN(const auto valid, valid_layouts(experiment, ranks));
    if (valid.empty())
      return invalid("no layout of " + std::to_string(ranks) + " ranks suits this experiment",
                     "train.batch must divide into their micro-batches, and the model into their parts; `check` with "
                     "--set parallel.* says what does not",
                     "verify");
    layouts.insert(layouts.end(), valid.begin(), valid.end());
  }
  return layouts;
}

int execute(const VerifyArguments& arguments, CliContext& context) {
  Diagnostics diagnostics;
  std::vector<std::string> overrides = arguments.overrides;
  overrides.push_back("precision.compute=" + arguments.compute);
  const auto experiment = load_experiment(arguments.file, {overrides}, context.registry(), diagnostics);
  if (const int code = report(diagnostics); code != 0 || !experiment) return code;
  Diagnostics assembled;
  check_assembled(*experiment, assembled);
  if (assembled.has_errors()) return report(assembled);
  const auto layouts = wanted_layouts(arguments, *experiment);
  if (!layouts.ok()) return report(layouts.error());

  VerifyRequest request;
  request.program = context.executable;
  request.file = arguments.file;
  request.overrides = arguments.overrides;
  request.layouts = *layouts;
  request.compute = arguments.compute;
  request.device = arguments.device;
  request.steps = arguments.steps;
  request.tolerance = arguments.tolerance > 0 ? arguments.tolerance : default_tolerance(arguments.compute);
  const bool keep = !arguments.folder.empty();
  request.folder = keep ? std::filesystem::path(arguments.folder)
                        : std::filesystem::temp_directory_path() / ("conclave-verify-" + std::to_string(getpid()));
  std::printf("%lld steps in %s on %s against one rank, tolerance %.0e; bytes are a step's, of all ranks together\n",
              static_cast<long long>(request.steps), request.compute.c_str(), request.device.c_str(),
              request.tolerance);
  std::printf("%5s  %-22s %9s %9s %9s  %11s  %-10s %s\n", "ranks", "layout", "loss", "grad norm", "tensors",
              "peak memory", "verdict", "sent");
  std::fflush(stdout);
  const auto verdicts =
      verify(request, [&](const LayoutVerdict& verdict) { print_row(verdict, experiment->train, request.steps); });
  std::error_code ignored;
  if (!keep) std::filesystem::remove_all(request.folder, ignored);
  if (!verdicts.ok()) return report(verdicts.error());
  std::size_t wrong = 0;
  for (const LayoutVerdict& verdict : *verdicts) wrong += verdict.same ? 0 : 1;
  std::printf("%zu of %zu layouts compute the same run\n", verdicts->size() - wrong, verdicts->size());
  return wrong == 0 ? 0 : exit_code(Code::internal);
}

} // namespace

void add_verify_verb(CLI::App& app, CliContext& context) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* verb = app.add_subcommand("verify", "Compare an experiment's steps under many layouts of ranks");
  verb->add_option("file", arguments->file, "The experiment's YAML")->required();
  verb->add_option("--ranks", arguments->ranks, "Numbers of ranks to try, started on this machine: --ranks 2,4,8")
      ->required()
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  verb->add_option("--layouts", arguments->layouts,
                   "Only these, e.g. pp2,tp2 (pipeline, virtual stages, data, tensor, expert: pp vp dp tp ep); "
                   "default: every one that is valid");
  verb->add_option("--steps", arguments->steps, "Steps of each run")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000}))
      ->capture_default_str();
  verb->add_option("--precision", arguments->compute, "Type that every run computes in")
      ->check(CLI::IsMember({"fp64", "fp32", "bf16", "fp16"}))
      ->capture_default_str();
  verb->add_option("--tolerance", arguments->tolerance,
                   "Largest difference of losses, norms and tensors (default: 1e-9 in fp64, 1e-4 in fp32, 5e-2 below)")
      ->check(CLI::PositiveNumber);
  verb->add_option("--device", arguments->device, "Where to run")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  verb->add_option("--keep", arguments->folder, "Keep the runs in this folder");
  verb->add_option("--set", arguments->overrides, "Override one value: a.b.c=value; repeatable")
      ->take_all()
      ->expected(1);
  verb->callback([arguments, &context] { context.exit_code = execute(*arguments, context); });
}

} // namespace conclave
