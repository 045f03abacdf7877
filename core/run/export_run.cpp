// Opens a checkpoint, rebuilds the model and tokenizer that it names, and hands both to the exporter.

#include "run/export_run.hpp"

#include "checkpoint/hugging_face_export.hpp"
#include "checkpoint/store.hpp"
#include "config/experiment.hpp"
#include "io/file_writer.hpp"
#include "plugin/guard.hpp"
#include "run/host_services.hpp"
#include "run/instantiate.hpp"
#include "run/resume.hpp"

namespace conclave {
namespace fs = std::filesystem;

namespace {

Result<std::unique_ptr<CheckpointReader>> open_source(const fs::path& source, Logger& log) {
  if (!fs::exists(source))
    return storage_error("there is nothing to export", "name a run directory or a checkpoint", source.string());
  if (fs::exists(source / "manifest.json")) return open_checkpoint(source);
  const fs::path checkpoints = source / "checkpoints";
  if (!fs::exists(checkpoints))
    return storage_error("this is neither a run directory nor a checkpoint",
                         "name a folder with checkpoints/ or a manifest.json", source.string());
  // The run may be going on: nothing in its folder is touched.
  return open_latest_checkpoint(checkpoints, [&log](const Error& damaged) { log.warning(damaged.render()); });
}

/// The experiment as the checkpoint keeps it: resolved, with absolute paths.
Result<Experiment> load_resolved(const CheckpointReader& reader, const fs::path& scratch, PluginRegistry& registry) {
  CONCLAVE_ASSIGN(const std::string text, reader.file("resolved.yaml"));
  const fs::path file = scratch / "resolved.yaml";
  CONCLAVE_RETURN_IF_ERROR(write_file_atomically(file, text));
  Diagnostics diagnostics;
  auto experiment = load_experiment(file.string(), {}, registry, diagnostics);
  if (!experiment)
    return invalid("the checkpoint's experiment does not load with this build:\n" + diagnostics.render(), "",
                   reader.path().string());
  return std::move(*experiment);
}

/// A folder of its own that dies with the object.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (fs::temp_directory_path() / "conclave-export-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

} // namespace

Status export_run(const ExportRequest& request, PluginRegistry& registry, Logger& log) {
  CONCLAVE_ASSIGN(const auto reader, open_source(request.source, log));
  CONCLAVE_ASSIGN(const CheckpointMeta meta, parse_checkpoint_meta(reader->meta_json()));
  const ScratchFolder scratch;
  if (scratch.path().empty()) return storage_error("cannot make a temporary folder", "check TMPDIR");
  CONCLAVE_ASSIGN(const Experiment experiment, load_resolved(*reader, scratch.path(), registry));

  HostServices::Settings services;
  services.log = &log;
  services.seed = experiment.seed;
  services.phase = Phase::prepare;
  services.scratch = scratch.path() / "plugins";
  HostServices host(std::move(services));
  const auto contexts = [&host](const PluginBlock& block) -> HostContext& { return host.context(block); };

  CONCLAVE_ASSIGN(const auto tokenizer, instantiate<Tokenizer>(experiment.data.tokenizer, contexts));
  CONCLAVE_ASSIGN(const std::string serialized, reader->file("tokenizer"));
  const char* tokenizer_id = experiment.data.tokenizer.id.c_str();
  CONCLAVE_RETURN_IF_ERROR(guard(tokenizer_id, "load", [&] { return tokenizer->load(serialized); }));
  CONCLAVE_ASSIGN(const auto model, instantiate<Model>(experiment.model, contexts));

  HuggingFaceExport files;
  const ModelShape shape{meta.vocabulary, experiment.data.length.max};
  CONCLAVE_ASSIGN(const SpecialTokens special,
                  guard(tokenizer_id, "special_tokens", [&] { return tokenizer->special_tokens(); }));
  CONCLAVE_ASSIGN(files.form, guard(experiment.model.id.c_str(), "hugging_face",
                                    [&] { return model->hugging_face(shape, special); }));
  files.directory = request.destination;
  files.dtype = request.dtype == "fp32" ? at::kFloat : request.dtype == "fp16" ? at::kHalf : at::kBFloat16;
  files.write_tokenizer = [&](const fs::path& folder) {
    return guard(tokenizer_id, "write", [&] { return tokenizer->write(folder.string()); });
  };
  CONCLAVE_ASSIGN(const auto written, export_hugging_face(*reader, files));
  log.info("exported step " + std::to_string(reader->step()) + " (" + std::to_string(written.tensors) + " tensors, " +
           std::to_string(written.bytes) + " bytes) to " + request.destination.string());
  return {};
}

} // namespace conclave
