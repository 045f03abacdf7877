// What tests of checkpoints share: a temporary folder, reading back, and damage. Google Test; snapshots.hpp has the values.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "checkpoint/store.hpp"
#include "unit/checkpoint/snapshots.hpp"

namespace conclave::checkpoint_test {

namespace fs = std::filesystem;

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    std::string pattern = (fs::temp_directory_path() / "conclave-checkpoint-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
    root = pattern;
  }
  ~CheckpointTest() override {
    std::error_code ignored;
    fs::remove_all(root, ignored);
  }

  [[nodiscard]] std::unique_ptr<CheckpointStore> open(CheckpointStore::Settings settings = {}) const {
    if (settings.directory.empty()) settings.directory = root / "checkpoints";
    auto store = open_checkpoint_store(std::move(settings));
    if (!store.ok()) throw std::runtime_error(store.error().render());
    return std::move(store).value();
  }
  [[nodiscard]] fs::path folder(std::int64_t step) const {
    char name[40];
    std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
    return root / "checkpoints" / name;
  }

  fs::path root;
};

inline at::Tensor read_whole(const CheckpointReader& reader, const std::string& name,
                             at::ScalarType type = at::kFloat) {
  auto shape = reader.shape(name);
  if (!shape.ok()) throw std::runtime_error(shape.error().render());
  at::Tensor out = at::empty(*shape, at::TensorOptions().dtype(type));
  const Status status = reader.read(name, std::vector<std::int64_t>(shape->size(), 0), out);
  if (!status.ok()) throw std::runtime_error(status.error().render());
  return out;
}

/// Every value of snapshot_of(step) is there.
inline void expect_holds(const CheckpointReader& reader, std::int64_t step, std::int64_t rows = 64) {
  const Snapshot expected = snapshot_of(step, rows);
  EXPECT_EQ(reader.step(), step);
  for (const TensorShard& shard : expected.tensors)
    EXPECT_TRUE(at::equal(read_whole(reader, shard.name, shard.value.scalar_type()), shard.value)) << shard.name;
  EXPECT_EQ(std::get<std::int64_t>(reader.states().at("host").at("optimizer_step")), step);
}

inline void flip_bit(const fs::path& file, std::int64_t byte, int bit) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(byte);
  const int value = stream.get();
  stream.seekp(byte);
  stream.put(static_cast<char>(value ^ (1 << bit)));
}

inline std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files.push_back(entry.path());
  return files;
}

} // namespace conclave::checkpoint_test
