// Opening a checkpoint folder: verify everything first, then read boxes of tensors straight from the files.

#include <ATen/ops/empty.h>

#include <algorithm>

#include "checkpoint/agreement.hpp"
#include "checkpoint/dtypes.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/store.hpp"
#include "checkpoint/verification.hpp"

namespace conclave {
namespace {

using Extents = std::vector<std::int64_t>;

/// The part of a stored box that a request wants, both in coordinates of the global tensor.
struct Overlap {
  Extents begin, size;
  [[nodiscard]] bool empty() const {
    return std::any_of(size.begin(), size.end(), [](std::int64_t extent) { return extent <= 0; });
  }
};

Overlap intersect(const Extents& offset, at::IntArrayRef size, const ManifestBox& box) {
  Overlap common;
  for (std::size_t axis = 0; axis < offset.size(); ++axis) {
    const std::int64_t begin = std::max(offset[axis], box.offset[axis]);
    const std::int64_t end = std::min(offset[axis] + size[axis], box.offset[axis] + box.size[axis]);
    common.begin.push_back(begin);
    common.size.push_back(end - begin);
  }
  return common;
}

/// Reads the overlap, row-major, into `out`. One read for each run of bytes that lie together in the file.
Status read_overlap(const FileHandle& file, const std::filesystem::path& path, const ManifestBox& box,
                    const Overlap& part, std::int64_t element_bytes, std::span<std::byte> out) {
  const std::size_t axes = part.size.size();
  // Axes from `inner` on are taken whole; the run is what they hold for the wanted range of the axis before them.
  std::size_t inner = axes;
  std::int64_t row = element_bytes;
  while (inner > 0 && part.size[inner - 1] == box.size[inner - 1]) row *= box.size[--inner];
  const std::size_t outer = inner > 0 ? inner - 1 : 0; // number of axes to walk over
  const std::int64_t run = inner > 0 ? row * part.size[inner - 1] : row;

  Extents strides(axes); // bytes, in the stored box
  std::int64_t stride = element_bytes;
  for (std::size_t axis = axes; axis-- > 0;) {
    strides[axis] = stride;
    stride *= box.size[axis];
  }
  std::int64_t base = box.begin;
  for (std::size_t axis = 0; axis < axes; ++axis) base += (part.begin[axis] - box.offset[axis]) * strides[axis];

  Extents index(outer, 0);
  for (std::size_t done = 0; done < out.size(); done += static_cast<std::size_t>(run)) {
    std::int64_t at = base;
    for (std::size_t axis = 0; axis < outer; ++axis) at += index[axis] * strides[axis];
    CONCLAVE_RETURN_IF_ERROR(read_exactly(file, path, at, out.subspan(done, static_cast<std::size_t>(run))));
    for (std::size_t axis = outer; axis-- > 0;) {
      if (++index[axis] < part.size[axis]) break;
      index[axis] = 0;
    }
  }
  return {};
}

std::string render_shape(const Extents& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.mutable_data_ptr()), static_cast<std::size_t>(tensor.nbytes())};
}

class FolderReader final : public CheckpointReader {
 public:
  FolderReader(DirectoryHandle folder, Manifest manifest, std::map<std::string, StateMap> states)
      : folder_(std::move(folder)), manifest_(std::move(manifest)), states_(std::move(states)) {}

  [[nodiscard]] std::int64_t step() const override { return manifest_.step; }
  [[nodiscard]] const std::string& meta_json() const override { return manifest_.meta_json; }
  [[nodiscard]] const std::map<std::string, StateMap>& states() const override { return states_; }
  [[nodiscard]] const std::filesystem::path& path() const override { return folder_.path(); }

  [[nodiscard]] std::vector<std::string> tensor_names() const override {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : manifest_.tensors) names.push_back(name);
    return names;
  }

  [[nodiscard]] Result<Extents> shape(const std::string& name) const override {
    CONCLAVE_ASSIGN(const ManifestTensor* tensor, find(name));
    return tensor->shape;
  }

  [[nodiscard]] Result<at::ScalarType> dtype(const std::string& name) const override {
    CONCLAVE_ASSIGN(const ManifestTensor* tensor, find(name));
    return find_dtype(tensor->dtype)->scalar_type;
  }

  Status read(const std::string& name, const Extents& offset, at::Tensor out) const override {
    CONCLAVE_ASSIGN(const ManifestTensor* tensor, find(name));
    const std::size_t axes = tensor->shape.size();
    bool fits = out.defined() && offset.size() == axes && out.sizes().size() == axes;
    for (std::size_t axis = 0; fits && axis < axes; ++axis)
      fits = offset[axis] >= 0 && offset[axis] <= tensor->shape[axis] - out.sizes()[axis];
    if (!fits)
      return storage_error(
          "tensor '" + name + "' has the shape " + render_shape(tensor->shape) + " in the checkpoint; asked for " +
              (out.defined() ? render_shape(out.sizes().vec()) : "nothing") + " at " + render_shape(offset),
          "resume with the model that wrote it", path().string());
    const DtypeInfo& info = *find_dtype(tensor->dtype);
    for (const ManifestBox& box : tensor->boxes) {
      const Overlap part = intersect(offset, out.sizes(), box);
      if (part.empty()) continue;
      CONCLAVE_ASSIGN(const FileHandle file, folder_.open_file(box.file));
      at::Tensor target = out.detach();
      for (std::size_t axis = 0; axis < axes; ++axis)
        target = target.narrow(static_cast<std::int64_t>(axis), part.begin[axis] - offset[axis], part.size[axis]);
      // Straight into the caller's memory where it looks like the file.
      const bool direct =
          target.is_contiguous() && target.device().is_cpu() && target.scalar_type() == info.scalar_type;
      const at::Tensor landing = direct ? target : at::empty(part.size, at::TensorOptions().dtype(info.scalar_type));
      CONCLAVE_RETURN_IF_ERROR(read_overlap(file, path() / box.file, box, part, info.bytes, bytes_of(landing)));
      if (!direct) target.copy_(landing);
    }
    return {};
  }

  [[nodiscard]] Result<std::string> file(const std::string& name) const override {
    const auto found = manifest_.files.find(extra_folder + name);
    if (found == manifest_.files.end())
      return storage_error("the checkpoint holds no file '" + name + "'", "use a checkpoint that was written with it",
                           path().string());
    CONCLAVE_ASSIGN(const FileHandle opened, folder_.open_file(found->first));
    std::string content;
    CONCLAVE_RETURN_IF_ERROR(verify_file(opened, path() / found->first, found->second, &content));
    return content;
  }

 private:
  [[nodiscard]] Result<const ManifestTensor*> find(const std::string& name) const {
    const auto found = manifest_.tensors.find(name);
    if (found == manifest_.tensors.end())
      return storage_error("the checkpoint holds no tensor '" + name + "'",
                           "resume with the model and optimizer that wrote it", path().string());
    return &found->second;
  }

  DirectoryHandle folder_;
  Manifest manifest_;
  std::map<std::string, StateMap> states_;
};

Result<std::map<std::string, StateMap>> read_states(const DirectoryHandle& folder, const Manifest& manifest) {
  std::map<std::string, StateMap> states;
  for (const auto& [owner, held] : manifest.states) {
    StateMap& target = states[owner];
    for (const auto& [name, state] : held) {
      if (const auto* array = std::get_if<ManifestArray>(&state)) {
        StateArray value{array->dtype, array->shape, {}};
        value.data.resize(static_cast<std::size_t>(*byte_count(array->shape, find_dtype(array->dtype)->bytes)));
        CONCLAVE_ASSIGN(const FileHandle file, folder.open_file(array->file));
        CONCLAVE_RETURN_IF_ERROR(read_exactly(file, folder.path() / array->file, array->begin, value.data));
        target.emplace(name, std::move(value));
      } else if (const auto* integer = std::get_if<std::int64_t>(&state)) {
        target.emplace(name, *integer);
      } else if (const auto* real = std::get_if<double>(&state)) {
        target.emplace(name, *real);
      } else {
        target.emplace(name, std::get<std::string>(state));
      }
    }
  }
  return states;
}

/// Rank 0: that all ranks read one manifest.
Result<std::string> same_manifest(const Result<std::vector<std::string>>& checksums,
                                  const std::filesystem::path& path) {
  if (!checksums.ok()) return checksums.error();
  for (std::size_t rank = 1; rank < checksums->size(); ++rank)
    if ((*checksums)[rank] != checksums->front())
      return storage_error("rank " + std::to_string(rank) + " finds another checkpoint there than rank 0",
                           "keep checkpoints on a file system that all ranks share", path.string());
  return checksums->front();
}

} // namespace

Result<std::unique_ptr<CheckpointReader>> open_checkpoint(const std::filesystem::path& path, Peers* peers) {
  const Share mine{static_cast<std::size_t>(peers ? peers->rank() : 0),
                   static_cast<std::size_t>(peers ? peers->size() : 1)};
  std::string checksum;
  auto reader = contained("opening a checkpoint", path, [&]() -> Result<std::unique_ptr<CheckpointReader>> {
    CONCLAVE_ASSIGN(DirectoryHandle folder, DirectoryHandle::open(path));
    CONCLAVE_ASSIGN(Manifest manifest, read_manifest(folder));
    CONCLAVE_RETURN_IF_ERROR(verify_contents(folder, manifest, mine));
    CONCLAVE_ASSIGN(auto states, read_states(folder, manifest));
    checksum = manifest.checksum;
    return std::unique_ptr<CheckpointReader>(
        std::make_unique<FolderReader>(std::move(folder), std::move(manifest), std::move(states)));
  });
  if (!peers) return reader;
  const auto all = gather_results(peers, "checkpoint/open/files",
                                  reader.ok() ? Result<std::string>(checksum) : Result<std::string>(reader.error()));
  const auto outcome = leads(peers) ? same_manifest(all, path) : Result<std::string>(std::string());
  CONCLAVE_RETURN_IF_ERROR(share(peers, "checkpoint/open/outcome", outcome).status());
  return reader;
}

} // namespace conclave
