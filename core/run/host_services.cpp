// The HostContext of a run.

#include "run/host_services.hpp"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <thread>

namespace conclave {

void MetricInbox::add(Metric metric) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    metrics_.push_back(std::move(metric));
  } catch (...) {
    // A lost extra metric is better than a dead run.
  }
}

std::vector<Metric> MetricInbox::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(metrics_, {});
}

class HostServices::Context final : public HostContext {
 public:
  Context(HostServices& host, std::string id, std::string name)
      : host_(host), id_(std::move(id)), name_(std::move(name)) {}

  Phase phase() const noexcept override { return host_.settings_.phase; }
  const std::string& plugin_id() const noexcept override { return id_; }
  const std::string& instance_name() const noexcept override { return name_; }
  void log(LogLevel level, std::string_view text) noexcept override {
    if (host_.settings_.log != nullptr) host_.settings_.log->write(level, id_, text);
  }
  std::uint64_t seed() const noexcept override { return host_.settings_.seed; }
  Device device() const noexcept override { return phase() == Phase::train ? host_.settings_.device : Device{}; }
  const Mesh& mesh() const noexcept override { return host_.settings_.mesh; }
  std::string scratch_dir() override { return folder(host_.scratch(), name_); }
  std::string cache_dir() override { return folder(host_.settings_.cache, id_); }
  int worker_threads() const noexcept override { return host_.settings_.worker_threads; }
  std::stop_token stop_token() const noexcept override { return host_.settings_.stop; }

  void parallel_for(std::int64_t n, std::int64_t grain,
                    const std::function<void(std::int64_t, std::int64_t)>& body) override {
    if (n <= 0) return;
    grain = std::max<std::int64_t>(grain, 1);
    const std::int64_t pieces = std::clamp<std::int64_t>(n / grain, 1, std::max(worker_threads(), 1));
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(pieces));
    auto run = [&](std::int64_t piece) {
      try {
        body(n * piece / pieces, n * (piece + 1) / pieces);
      } catch (...) {
        errors[static_cast<std::size_t>(piece)] = std::current_exception();
      }
    };
    {
      std::vector<std::jthread> threads;
      for (std::int64_t piece = 1; piece < pieces; ++piece) threads.emplace_back(run, piece);
      run(0);
    }
    for (const auto& error : errors)
      if (error) std::rethrow_exception(error);
  }

  void metric(std::string_view name, std::string_view unit, double value, Reduction reduction) noexcept override {
    if (phase() != Phase::train) return;
    try {
      host_.metrics_.add({std::string(name), std::string(unit), value, reduction, {}});
    } catch (...) {
    }
  }

 private:
  /// `root/leaf`, made on first use; "" in the check phase.
  std::string folder(const std::filesystem::path& root, std::string leaf) const {
    if (root.empty() || phase() == Phase::check) return {};
    std::replace(leaf.begin(), leaf.end(), '/', '-');
    const auto path = root / leaf;
    std::error_code ignored;
    std::filesystem::create_directories(path, ignored);
    return path.string();
  }

  HostServices& host_;
  std::string id_, name_;
};

HostServices::HostServices(Settings settings) : settings_(std::move(settings)) {}

HostServices::~HostServices() {
  if (scratch_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(scratch_, ignored);
  std::filesystem::remove(settings_.scratch, ignored); // stays where another process has its own in it
}

const std::filesystem::path& HostServices::scratch() {
  const std::lock_guard lock(scratch_mutex_);
  if (!scratch_.empty() || settings_.scratch.empty() || settings_.phase == Phase::check) return scratch_;
  std::error_code ignored;
  std::filesystem::create_directories(settings_.scratch, ignored);
  // A name that nobody else has: process numbers repeat between containers that share a cache.
  std::string name = (settings_.scratch / "XXXXXX").string();
  if (mkdtemp(name.data()) != nullptr) scratch_ = name;
  return scratch_;
}

HostContext& HostServices::context(const PluginBlock& block) {
  contexts_.push_back(std::make_unique<Context>(*this, block.id, block.key));
  return *contexts_.back();
}

} // namespace conclave
