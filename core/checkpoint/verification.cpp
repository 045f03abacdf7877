// Files against their manifest and their headers.

#include "checkpoint/verification.hpp"

#include <map>
#include <set>
#include <string>
#include <utility>

#include "checkpoint/safetensors.hpp"

namespace conclave {
namespace {

/// The ranges of the files that were read, by file: where each begins, and its dtype.
using KnownRanges = std::map<std::string, std::set<std::pair<std::int64_t, std::string>>>;

/// Every range that the manifest has in a known file must be one that the file's header has too.
Status check_ranges(const Manifest& manifest, const std::filesystem::path& folder, const KnownRanges& known) {
  const auto check = [&](const std::string& file, std::int64_t begin, const std::string& dtype,
                         const std::string& name) -> Status {
    const auto found = known.find(file);
    if (found == known.end() || found->second.contains({begin, dtype})) return {};
    return storage_error("the manifest and the header of '" + file + "' disagree on '" + name + "'",
                         "use another checkpoint", folder.string());
  };
  for (const auto& [name, tensor] : manifest.tensors)
    for (const ManifestBox& box : tensor.boxes)
      CONCLAVE_RETURN_IF_ERROR(check(box.file, box.begin, tensor.dtype, name));
  for (const auto& [owner, held] : manifest.states)
    for (const auto& [name, state] : held)
      if (const auto* array = std::get_if<ManifestArray>(&state))
        CONCLAVE_RETURN_IF_ERROR(check(array->file, array->begin, array->dtype, owner + "/" + name));
  return {};
}

} // namespace

Status verify_contents(const DirectoryHandle& folder, const Manifest& manifest, Share share) {
  KnownRanges known;
  std::size_t index = 0;
  for (const auto& [name, digest] : manifest.files) {
    if (index++ % share.count != share.index) continue;
    const std::filesystem::path path = folder.path() / name;
    CONCLAVE_ASSIGN(const FileHandle file, folder.open_file(name));
    CONCLAVE_RETURN_IF_ERROR(verify_file(file, path, digest));
    auto& ranges = known[name]; // stays empty for a file of another kind: no tensor can lie in it
    if (!name.ends_with(".safetensors") || name.starts_with(extra_folder)) continue;
    CONCLAVE_ASSIGN(const SafetensorsLayout layout, read_safetensors(file, path));
    for (const SafetensorsEntry& entry : layout.entries) ranges.emplace(layout.data_begin + entry.begin, entry.dtype);
  }
  return check_ranges(manifest, folder.path(), known);
}

Result<Manifest> read_manifest(const DirectoryHandle& folder) {
  const std::filesystem::path path = folder.path() / manifest_name;
  auto opened = folder.open_file(manifest_name);
  if (!opened.ok()) {
    Error error = opened.error();
    error.fix = "name a checkpoint folder: one with a " + std::string(manifest_name);
    return error;
  }
  CONCLAVE_ASSIGN(const std::int64_t size, file_size(*opened, path));
  if (size > manifest_limit)
    return storage_error("the manifest is larger than 512 MiB", "use another checkpoint", path.string());
  std::string text(static_cast<std::size_t>(size), '\0');
  CONCLAVE_RETURN_IF_ERROR(read_exactly(*opened, path, 0, std::as_writable_bytes(std::span(text.data(), text.size()))));
  return decode_manifest(text, path);
}

} // namespace conclave
