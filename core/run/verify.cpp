// Starting runs and comparing what they left behind.

#include "run/verify.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "checkpoint/store.hpp"
#include "io/folders.hpp"
#include "launch/ranks.hpp"
#include "plugin/child_process.hpp"
#include "plugin/guard.hpp"
#include "run/assemble.hpp"
#include "run/host_services.hpp"
#include "run/instantiate.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

constexpr double child_limit = 3600; // seconds of processor time of one layout's run

/// What one layout's run left behind.
struct Remains {
  StepRecord record; ///< of rank 0, with what all ranks sent and the largest peak
  std::unique_ptr<CheckpointReader> checkpoint;
};

std::string last_lines(const std::string& text) {
  std::size_t begin = text.size();
  for (int lines = 0; lines < 4 && begin > 0; ++lines) {
    const std::size_t newline = text.rfind('\n', begin - 1);
    if (newline == std::string::npos) return text;
    begin = newline;
  }
  return text.substr(begin + 1);
}

Result<Remains> run_layout(const VerifyRequest& request, const VerifiedLayout& layout, const fs::path& folder) {
  CONCLAVE_RETURN_IF_ERROR(make_directories(folder));
  const fs::path record = folder / "steps";
  std::vector<std::string> arguments = {"run",          request.file,
                                        "--ranks",      std::to_string(layout.ranks()),
                                        "--run-dir",    (folder / "run").string(),
                                        "--device",     request.device,
                                        "--stop-after", std::to_string(request.steps),
                                        "--quiet",      "--step-record",
                                        record.string()};
  std::vector<std::string> overrides = request.overrides;
  const auto set = [&](const std::string& key, const std::string& value) { overrides.push_back(key + "=" + value); };
  set("precision.compute", request.compute);
  set("parallel.pipeline", std::to_string(layout.pipeline));
  set("parallel.virtual_stages", std::to_string(layout.virtual_stages));
  set("parallel.data", std::to_string(layout.data));
  set("parallel.tensor", std::to_string(layout.tensor));
  set("parallel.expert", std::to_string(layout.expert));
  set("monitors", "[]");
  set("checkpoint", "null");
  for (const std::string& override_ : overrides) arguments.insert(arguments.end(), {"--set", override_});
  CONCLAVE_ASSIGN(const ChildOutcome outcome,
                  run_child(request.program, arguments, child_limit, [](const std::string&) { return 0.0; }));
  if (const std::string wrong = outcome.describe(); !wrong.empty())
    return Error{Code::internal, folder.string(), wrong, last_lines(outcome.errors)};

  Remains remains;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    CONCLAVE_ASSIGN(StepRecord own, read_step_record(record.string() + "." + std::to_string(rank)));
    remains.record.peak_memory = std::max(remains.record.peak_memory, own.peak_memory);
    for (const auto& [group, traffic] : own.sent) remains.record.sent[group] += traffic;
    if (rank == 0) remains.record.steps = std::move(own.steps);
  }
  CONCLAVE_ASSIGN(remains.checkpoint, open_latest_checkpoint(folder / "run/checkpoints", {}));
  return remains;
}

Status compare_tensors(const CheckpointReader& found, const CheckpointReader& expected, LayoutVerdict& verdict) {
  std::vector<std::string> names = expected.tensor_names(), theirs = found.tensor_names();
  std::sort(names.begin(), names.end());
  std::sort(theirs.begin(), theirs.end());
  if (names != theirs) {
    verdict.failure = "its checkpoint holds other tensors than that of one rank";
    return {};
  }
  for (const std::string& name : names) {
    CONCLAVE_ASSIGN(const auto shape, expected.shape(name));
    const at::Tensor a = at::empty(shape, at::kDouble), b = at::empty(shape, at::kDouble);
    const std::vector<std::int64_t> zero(shape.size(), 0);
    CONCLAVE_RETURN_IF_ERROR(found.read(name, zero, a));
    CONCLAVE_RETURN_IF_ERROR(expected.read(name, zero, b));
    if (a.numel() == 0) continue;
    const double scale = std::max(1.0, b.abs().max().item<double>());
    double apart = (a - b).abs().max().item<double>() / scale;
    if (!std::isfinite(apart)) apart = HUGE_VAL;
    if (apart > verdict.tensor_difference) {
      verdict.tensor_difference = apart;
      verdict.worst_tensor = name;
    }
  }
  return {};
}

Status compare(const Remains& found, const Remains& expected, double tolerance, Parting parting,
               LayoutVerdict& verdict) {
  compare_steps(found.record.steps, expected.record.steps, verdict);
  if (verdict.failure.empty() && verdict.parted.empty())
    CONCLAVE_RETURN_IF_ERROR(compare_tensors(*found.checkpoint, *expected.checkpoint, verdict));
  judge(verdict, tolerance, parting);
  return {};
}

/// Whether the batch divides into this layout's micro-batches.
bool suits_batch(const Experiment& experiment, const VerifiedLayout& layout) {
  const std::int64_t batch = experiment.train.batch;
  if (batch % layout.data != 0) return false;
  const std::int64_t micro =
      experiment.train.micro_batch > 0 ? experiment.train.micro_batch.value : batch / layout.data;
  if (batch % (micro * layout.data) != 0) return false;
  return layout.virtual_stages == 1 || batch / (micro * layout.data) % layout.pipeline == 0;
}

std::vector<int> divisors(int n) {
  std::vector<int> found;
  for (int d = 1; d <= n; ++d)
    if (n % d == 0) found.push_back(d);
  return found;
}

} // namespace

Result<VerifiedLayout> parse_layout(const std::string& text, int ranks) {
  const auto wrong = [&](const std::string& what) {
    return invalid(what, "write degrees such as pp2,tp2,ep4 (pp, vp, dp, tp, ep)", "--layouts " + text);
  };
  VerifiedLayout layout;
  bool data_given = false;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    int degree = 0;
    const auto [stop, error] = part.size() > 2 ? std::from_chars(part.data() + 2, part.data() + part.size(), degree)
                                               : std::from_chars_result{part.data(), std::errc::invalid_argument};
    if (error != std::errc{} || stop != part.data() + part.size() || degree < 1)
      return wrong("'" + part + "' is no degree");
    const std::map<std::string, int*> degrees = {{"pp", &layout.pipeline},
                                                 {"vp", &layout.virtual_stages},
                                                 {"dp", &layout.data},
                                                 {"tp", &layout.tensor},
                                                 {"ep", &layout.expert}};
    const auto named = degrees.find(part.substr(0, 2));
    if (named == degrees.end()) return wrong("'" + part + "' is no degree");
    *named->second = degree;
    data_given |= named->first == "dp";
  }
  if (!data_given) {
    const int others = layout.pipeline * layout.tensor;
    if (ranks % others != 0)
      return wrong("pipeline x tensor = " + std::to_string(others) + " does not divide " + std::to_string(ranks) +
                   " ranks");
    layout.data = ranks / others;
  }
  return layout;
}

Result<std::vector<VerifiedLayout>> valid_layouts(const Experiment& experiment, int ranks) {
  Logger log(true);
  HostServices::Settings settings;
  settings.log = &log;
  settings.seed = experiment.seed;
  settings.phase = Phase::check;
  HostServices host(std::move(settings));
  CONCLAVE_ASSIGN(const auto model,
                  instantiate<Model>(experiment.model, [&host](const PluginBlock& block) -> HostContext& {
                    return host.context(block);
                  }));
  const ModelShape shape{32'000, experiment.data.length.max};
  std::vector<VerifiedLayout> found;
  for (const int pipeline : divisors(ranks))
    for (const int tensor : divisors(ranks / pipeline))
      for (const int expert : divisors(ranks / pipeline))
        for (const int stages : {1, 2}) {
          if (stages > 1 && pipeline == 1) continue;
          const VerifiedLayout layout{pipeline, stages, ranks / pipeline / tensor, tensor, expert};
          if (!suits_batch(experiment, layout)) continue;
          const auto mesh = resolve_mesh({tensor, pipeline, expert, layout.data}, ranks, 0);
          if (!mesh.ok()) continue;
          StageRequest request;
          request.shape = shape;
          request.mesh = *mesh;
          request.chunks = pipeline * stages;
          const auto fits =
              guard(experiment.model.id.c_str(), "make_stage", [&] { return model->make_stage(request); });
          if (fits.ok()) found.push_back(layout);
        }
  return found;
}

Result<std::vector<LayoutVerdict>> verify(const VerifyRequest& request,
                                          const std::function<void(const LayoutVerdict&)>& done) {
  CONCLAVE_RETURN_IF_ERROR(make_directories(request.folder));
  CONCLAVE_ASSIGN(const Remains expected, run_layout(request, {}, request.folder / "one-rank"));
  std::vector<LayoutVerdict> verdicts;
  for (const VerifiedLayout& layout : request.layouts) {
    LayoutVerdict& verdict = verdicts.emplace_back();
    verdict.layout = layout;
    std::string folder = layout.name();
    std::replace(folder.begin(), folder.end(), ' ', '-');
    const auto found = run_layout(request, layout, request.folder / (std::to_string(layout.ranks()) + "-" + folder));
    if (!found.ok()) {
      verdict.failure = found.error().render();
    } else {
      verdict.sent = found->record.sent;
      verdict.peak_memory = found->record.peak_memory;
      const Parting parting = request.compute == "fp64" ? Parting::refused : Parting::allowed;
      if (const Status compared = compare(*found, expected, request.tolerance, parting, verdict); !compared.ok())
        verdict.failure = compared.error().render();
    }
    if (done) done(verdict);
  }
  return verdicts;
}

} // namespace conclave
