// Writing the Hugging Face form.

#include "checkpoint/hugging_face_export.hpp"

#include <ATen/ops/empty.h>

#include <cstdio>
#include <map>
#include <system_error>

#include <nlohmann/json.hpp>

#include "checkpoint/dtypes.hpp"
#include "checkpoint/safetensors.hpp"
#include "io/file_writer.hpp"
#include "io/folders.hpp"

namespace conclave {
namespace {

namespace fs = std::filesystem;

struct Weight {
  std::string source; ///< in the checkpoint
  std::vector<std::int64_t> shape;
  at::ScalarType dtype;
  std::int64_t bytes = 0;
};

using Weights = std::map<std::string, Weight>; ///< by Hugging Face name

Result<Weights> collect(const CheckpointReader& reader, const HuggingFaceExport& request) {
  Weights weights;
  for (const std::string& name : reader.tensor_names()) {
    if (name.find('/') != std::string::npos) continue;
    const std::string target = request.form.rename ? request.form.rename(name) : name;
    if (target.empty()) continue;
    Weight weight{name, {}, at::kFloat, 0};
    CONCLAVE_ASSIGN(weight.shape, reader.shape(name));
    CONCLAVE_ASSIGN(weight.dtype, reader.dtype(name));
    if (c10::isFloatingType(weight.dtype)) weight.dtype = request.dtype;
    const DtypeInfo* info = find_dtype(weight.dtype);
    if (!info) return invalid("weights cannot be exported in that type", "choose fp32, bf16 or fp16");
    const auto bytes = byte_count(weight.shape, info->bytes);
    if (!bytes) return internal_error("tensor '" + name + "' is too large", reader.path().string());
    weight.bytes = *bytes;
    if (!weights.emplace(target, std::move(weight)).second)
      return internal_error("two tensors are called '" + target + "' in the Hugging Face form", name);
  }
  if (weights.empty())
    return storage_error("the checkpoint holds no model weights", "name another one", reader.path().string());
  return weights;
}

/// Names of each file's tensors; files are filled in the order of the names.
std::vector<std::vector<std::string>> split(const Weights& weights, std::int64_t max_file_bytes) {
  std::vector<std::vector<std::string>> files(1);
  std::int64_t filled = 0;
  for (const auto& [name, weight] : weights) {
    if (!files.back().empty() && filled + weight.bytes > max_file_bytes) {
      files.emplace_back();
      filled = 0;
    }
    files.back().push_back(name);
    filled += weight.bytes;
  }
  return files;
}

std::string file_name(std::size_t index, std::size_t count) {
  if (count == 1) return "model.safetensors";
  char text[64];
  std::snprintf(text, sizeof text, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return text;
}

Status write_weights(const CheckpointReader& reader, const Weights& weights, const std::vector<std::string>& names,
                     const fs::path& path) {
  SafetensorsLayout layout;
  layout.metadata = {{"format", "pt"}}; // transformers refuses a file without it
  for (const std::string& name : names) {
    const Weight& weight = weights.at(name);
    layout.entries.push_back({name, std::string(find_dtype(weight.dtype)->name), weight.shape, 0, 0});
  }
  CONCLAVE_ASSIGN(const std::string head, plan_safetensors(layout));
  CONCLAVE_ASSIGN(FileWriter writer, FileWriter::create(path));
  CONCLAVE_RETURN_IF_ERROR(writer.write(std::string_view(head)));
  for (const SafetensorsEntry& entry : layout.entries) {
    const Weight& weight = weights.at(entry.name);
    const at::Tensor value = at::empty(weight.shape, at::TensorOptions().dtype(weight.dtype));
    CONCLAVE_RETURN_IF_ERROR(reader.read(weight.source, std::vector<std::int64_t>(weight.shape.size(), 0), value));
    CONCLAVE_RETURN_IF_ERROR(writer.write(
        std::span(static_cast<const std::byte*>(value.const_data_ptr()), static_cast<std::size_t>(value.nbytes()))));
  }
  CONCLAVE_ASSIGN([[maybe_unused]] const FileDigest digest, writer.finish());
  return {};
}

Status write_text(const fs::path& path, const std::string& text) {
  CONCLAVE_ASSIGN([[maybe_unused]] const FileDigest digest, write_file(path, text));
  return {};
}

/// The model's config with the type that the files are in, as PyTorch names it: loaders follow it.
Result<std::string> config_text(const HuggingFaceExport& request) {
  auto config = nlohmann::ordered_json::parse(request.form.config_json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return internal_error("the model's Hugging Face config is no JSON object");
  config["torch_dtype"] = request.dtype == at::kBFloat16 ? "bfloat16"
                          : request.dtype == at::kHalf   ? "float16"
                                                         : "float32";
  return config.dump(2) + "\n";
}

Status write_all(const CheckpointReader& reader, const HuggingFaceExport& request, const fs::path& folder,
                 HuggingFaceExported& done) {
  CONCLAVE_ASSIGN(const Weights weights, collect(reader, request));
  const auto files = split(weights, request.max_file_bytes);
  nlohmann::json map = nlohmann::json::object();
  for (std::size_t i = 0; i < files.size(); ++i) {
    done.files.push_back(file_name(i, files.size()));
    CONCLAVE_RETURN_IF_ERROR(write_weights(reader, weights, files[i], folder / done.files.back()));
    for (const std::string& name : files[i]) {
      map[name] = done.files.back();
      done.bytes += weights.at(name).bytes;
      ++done.tensors;
    }
  }
  if (files.size() > 1) {
    const nlohmann::json index = {{"metadata", {{"total_size", done.bytes}}}, {"weight_map", std::move(map)}};
    CONCLAVE_RETURN_IF_ERROR(write_text(folder / "model.safetensors.index.json", index.dump(2) + "\n"));
  }
  CONCLAVE_ASSIGN(const std::string config, config_text(request));
  CONCLAVE_RETURN_IF_ERROR(write_text(folder / "config.json", config));
  if (request.write_tokenizer) CONCLAVE_RETURN_IF_ERROR(request.write_tokenizer(folder));
  return sync_directory(folder);
}

} // namespace

Result<HuggingFaceExported> export_hugging_face(const CheckpointReader& reader, const HuggingFaceExport& request) {
  fs::path target = fs::absolute(request.directory).lexically_normal();
  if (!target.has_filename()) target = target.parent_path(); // a trailing slash
  std::error_code failed;
  if (fs::exists(target, failed) && !fs::is_directory(target, failed))
    return invalid("the export's target is a file", "name a new folder", target.string());
  if (fs::is_directory(target, failed) && !fs::is_empty(target, failed))
    return invalid("the export's target folder is not empty", "name a new folder", target.string());
  fs::create_directories(target.parent_path(), failed);
  if (failed) return file_error(target.parent_path(), "make the folder", failed.value());

  const fs::path temporary = target.parent_path() / (".tmp-" + target.filename().string());
  fs::remove_all(temporary, failed);
  fs::create_directory(temporary, failed);
  if (failed) return file_error(temporary, "make the folder", failed.value());
  HuggingFaceExported done;
  Status status;
  try {
    status = write_all(reader, request, temporary, done);
  } catch (const std::exception& caught) {
    status = internal_error(std::string("the export failed: ") + caught.what(), target.string());
  }
  if (status.ok()) {
    fs::remove(target, failed); // an empty folder
    fs::rename(temporary, target, failed);
    if (failed) status = file_error(target, "rename to this name", failed.value());
  }
  if (!status.ok()) {
    fs::remove_all(temporary, failed);
    return status.error();
  }
  CONCLAVE_RETURN_IF_ERROR(sync_directory(target.parent_path()));
  return done;
}

} // namespace conclave
