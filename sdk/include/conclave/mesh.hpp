// Mesh: how the ranks of a run are arranged, seen by one rank.
//
// Two views lie over the same ranks ("folding") and are independent of each other:
//   attention and dense layers:  pipeline x data x context x tensor
//   experts:                     pipeline x expert_data x expert
// so data * context * tensor == expert_data * expert. The context dimension is reserved and of size 1.
//
// What this is: sizes and coordinates, known before any process group exists, which `describe()` and `check` need. What
// this is not: communication; a collective takes a Group (parallel/group.hpp).
//
// Threading: a value, immutable.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace conclave {

enum class MeshDim : std::uint8_t { pipeline, data, context, tensor, expert_data, expert };
inline constexpr std::size_t mesh_dim_count = 6;
const char* to_string(MeshDim dim) noexcept;

class Mesh {
 public:
  /// One rank.
  Mesh() noexcept { size_.fill(1); }
  /// Precondition: sizes multiply as stated above; 0 <= index < size for each dimension.
  Mesh(const std::array<int, mesh_dim_count>& size, const std::array<int, mesh_dim_count>& index) noexcept
      : size_(size), index_(index) {}

  [[nodiscard]] int size(MeshDim dim) const noexcept { return size_[static_cast<std::size_t>(dim)]; }
  /// This rank's coordinate in that dimension.
  [[nodiscard]] int index(MeshDim dim) const noexcept { return index_[static_cast<std::size_t>(dim)]; }
  [[nodiscard]] int world_size() const noexcept {
    return size(MeshDim::pipeline) * size(MeshDim::data) * size(MeshDim::context) * size(MeshDim::tensor);
  }

 private:
  std::array<int, mesh_dim_count> size_{};
  std::array<int, mesh_dim_count> index_{};
};

} // namespace conclave
