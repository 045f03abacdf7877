// The test kit: what a plugin's unit test needs instead of a running host.
//
//   const auto& filter = testkit::this_library("filter/my-filter");
//   testkit::FakeHost host({.phase = Phase::prepare});
//   auto made = testkit::make<Filter>(filter, host, testkit::map({{"minimum", 3}}));
//   ASSERT_TRUE(made.ok()) << made.error().render();
//
// What this is: a host that lives in one object, option values without YAML, and instances without an experiment. What
// this is not: a test framework (use any), or the conformance suite (`conclave plugins check FILE.so`), which is built on
// it. testkit_data.hpp adds columns and documents, testkit_tensor.hpp batches and bound stages, testkit_ranks.hpp ranks.
//
// Threading: FakeHost's [any-thread] calls are safe from any thread; the rest is for the test's own thread.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conclave/host.hpp"
#include "conclave/options.hpp"
#include "conclave/plugin.hpp"
#include "conclave/status.hpp"
#include "conclave/value.hpp"

namespace conclave::testkit {

/// A new empty folder that is removed with all its content at the end of the object's life.
class TemporaryDir {
 public:
  TemporaryDir();
  ~TemporaryDir();
  TemporaryDir(const TemporaryDir&) = delete;
  TemporaryDir& operator=(const TemporaryDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// Writes a file below the folder, making the folders between; returns its path.
  std::filesystem::path write(const std::filesystem::path& relative, std::string_view content) const;

 private:
  std::filesystem::path path_;
};

struct LogLine {
  LogLevel level;
  std::string text;
};

struct RecordedMetric {
  std::string name, unit;
  double value;
  Reduction reduction;
};

/// A host for one instance: one thread, one rank, the CPU; keeps what the plugin logs and measures.
class FakeHost final : public HostContext {
 public:
  struct Settings {
    Phase phase = Phase::train;
    std::uint64_t seed = 1;
    std::string plugin_id = "test/plugin";
    std::string instance_name = "plugin";
    Device device = {};
    Mesh mesh = {};
  };
  FakeHost();
  explicit FakeHost(Settings settings);

  [[nodiscard]] Phase phase() const noexcept override { return settings_.phase; }
  [[nodiscard]] const std::string& plugin_id() const noexcept override { return settings_.plugin_id; }
  [[nodiscard]] const std::string& instance_name() const noexcept override { return settings_.instance_name; }
  void log(LogLevel level, std::string_view text) noexcept override;
  [[nodiscard]] std::uint64_t seed() const noexcept override { return settings_.seed; }
  [[nodiscard]] Device device() const noexcept override { return settings_.device; }
  [[nodiscard]] const Mesh& mesh() const noexcept override { return settings_.mesh; }
  /// Below a temporary folder of this object; empty in the check phase, as the real host does.
  [[nodiscard]] std::string scratch_dir() override;
  [[nodiscard]] std::string cache_dir() override;
  /// Calls body(0, n) on this thread.
  void parallel_for(std::int64_t n, std::int64_t grain,
                    const std::function<void(std::int64_t begin, std::int64_t end)>& body) override;
  [[nodiscard]] int worker_threads() const noexcept override { return 1; }
  [[nodiscard]] std::stop_token stop_token() const noexcept override { return stop_.get_token(); }
  void metric(std::string_view name, std::string_view unit, double value, Reduction reduction) noexcept override;

  /// What the run's stop signal does.
  void request_stop() { stop_.request_stop(); }
  [[nodiscard]] std::vector<LogLine> logs() const;
  [[nodiscard]] std::vector<RecordedMetric> metrics() const;

 private:
  std::string folder(const char* name);

  Settings settings_;
  std::stop_source stop_;
  mutable std::mutex mutex_; // of the three below
  std::unique_ptr<TemporaryDir> directory_;
  std::vector<LogLine> logs_;
  std::vector<RecordedMetric> metrics_;
};

/// One value written in C++ as it would be in YAML: text, a number, a boolean, or a Value.
class Literal {
 public:
  Literal(Value value) : value_(std::move(value)) {}
  Literal(const char* text) : value_(Value::scalar(text)) {}
  Literal(std::string text) : value_(Value::scalar(std::move(text))) {}
  Literal(const std::filesystem::path& path) : value_(Value::scalar(path.string())) {}
  Literal(bool truth) : value_(Value::scalar(truth ? "true" : "false")) {}
  template <class T>
  requires(std::integral<T> && !std::same_as<T, bool>) Literal(T number)
      : value_(Value::scalar(std::to_string(number))) {}
  Literal(double number);
  [[nodiscard]] const Value& value() const noexcept { return value_; }

 private:
  Value value_;
};

/// `map({{"lr", 1e-3}, {"betas", list({0.9, 0.98})}})`; a later key replaces an equal earlier one.
Value map(std::initializer_list<std::pair<std::string, Literal>> members);
Value list(std::initializer_list<Literal> items);

/// An options object and what binding said about it.
struct Bound {
  std::shared_ptr<void> options; ///< never null for a built table
  Diagnostics diagnostics;
  std::vector<ChildRequest> children; ///< nested plugin blocks, not yet built
  [[nodiscard]] bool ok() const noexcept { return !diagnostics.has_errors(); }
  /// Precondition: O is the struct of the table.
  template <class O>
  [[nodiscard]] const O& as() const {
    return *static_cast<const O*>(options.get());
  }
};

/// Binds `with` (null: all defaults) as the host does. Relative paths start at `base_directory`.
Bound bind_options(const OptionTable& table, const Value& with = {}, const std::string& base_directory = ".");

/// Instances for nested plugin options, by the option's name.
using Children = std::map<std::string, std::shared_ptr<Plugin>>;

/// Makes the plugin of a nested block that stands in the options.
using MakeChild = std::function<Result<std::shared_ptr<Plugin>>(const ChildRequest& request)>;

/// Binds and constructs. Nested plugins come from `children`, those whose block stands in `with` from `make_child`. An error
/// of binding lists every problem; an exception of the plugin becomes an Error with its id, one of `make_child` passes.
Result<std::shared_ptr<Plugin>> make_plugin(const PluginDescriptor& descriptor, HostContext& host,
                                            const Value& with = {}, const Children& children = {},
                                            const MakeChild& make_child = {});

template <class K>
Result<std::shared_ptr<K>> make(const PluginDescriptor& descriptor, HostContext& host, const Value& with = {},
                                const Children& children = {}) {
  if (descriptor.kind != K::kind) return invalid(descriptor.info.id + " is no " + K::kind);
  auto made = make_plugin(descriptor, host, with, children);
  if (!made.ok()) return made.error();
  return std::static_pointer_cast<K>(std::move(made).value());
}

} // namespace conclave::testkit

// A plugin's test is linked with the plugin's own objects, so its entry is there to be called.
extern "C" ::conclave::PluginDescriptors* conclave_plugin_entry() noexcept;

namespace conclave::testkit {

/// The descriptors of the library under test. Throws std::runtime_error when its entry returns null.
const PluginDescriptors& descriptors_of(PluginEntry entry);
/// The one with that id; throws std::out_of_range with the ids that are there.
const PluginDescriptor& descriptor_of(PluginEntry entry, std::string_view id);

/// Inline, so that only a test that calls it needs the entry.
inline const PluginDescriptor& this_library(std::string_view id) { return descriptor_of(&conclave_plugin_entry, id); }

} // namespace conclave::testkit
