// A small model with every feature on, trained for some steps by threads that are the ranks of a layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/store.hpp"
#include "conclave/parallel/group.hpp"
#include "train/step_engine.hpp"

namespace conclave::testing {

inline constexpr std::int64_t vocabulary = 51, length = 16, rows = 16, micro_rows = 2, width = 32;

struct Layout {
  int pipeline = 1, virtual_stages = 1, data = 1, tensor = 1, expert = 1;
  bool shard = true;
};
/// "pp2x2_dp1_tp2_ep1_whole": two chunks on each of two pipeline ranks, optimizer states not sharded.
std::string name_of(const Layout& layout);

/// Options of model/moe-transformer: 4 layers, the first dense, two of them local, head gates, shared experts, router bias.
nlohmann::json all_features(bool tied);

struct Network {
  nlohmann::json options = all_features(true);
  bool recompute = false;
  at::ScalarType compute = at::kDouble;
  std::int64_t bucket = 5000; ///< elements
};

/// A checkpoint in memory, made of every rank's snapshot.
class Assembled final : public CheckpointReader {
 public:
  void add(const StepEngine& engine); ///< any thread
  void expect_each_element_once() const;

  [[nodiscard]] std::int64_t step() const override { return 0; }
  [[nodiscard]] const std::string& meta_json() const override { return meta_; }
  [[nodiscard]] const std::map<std::string, StateMap>& states() const override { return states_; }
  [[nodiscard]] std::vector<std::string> tensor_names() const override;
  [[nodiscard]] Result<std::vector<std::int64_t>> shape(const std::string& name) const override {
    return tensors.at(name).sizes().vec();
  }
  [[nodiscard]] Result<at::ScalarType> dtype(const std::string& name) const override {
    return tensors.at(name).scalar_type();
  }
  Status read(const std::string& name, const std::vector<std::int64_t>& offset, at::Tensor out) const override;
  [[nodiscard]] Result<std::string> file(const std::string& name) const override { return invalid("no " + name); }
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

  std::map<std::string, at::Tensor> tensors;

 private:
  std::map<std::string, at::Tensor> times_; ///< how often each element was given
  std::map<std::string, StateMap> states_;
  std::string meta_;
  std::filesystem::path path_ = "memory";
  std::mutex mutex_;
};

struct Trained {
  std::vector<StepResult> steps;
  Assembled state;
  /// By group: what one rank sent in the steps. Of the rank with index 0 in every dimension, and of the last in the pipeline.
  std::map<std::string, Traffic> first_sent, last_sent;
  std::vector<StageDescription> first_descriptions;
};

/// Steps [first, last) of the run, from the initial values or a checkpoint. Throws what a rank throws.
void train(const Network& network, const Layout& layout, std::int64_t first, std::int64_t last, Trained& out,
           const CheckpointReader* from = nullptr);

} // namespace conclave::testing
