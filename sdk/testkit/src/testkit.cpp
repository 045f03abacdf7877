// FakeHost, temporary folders, and instances without an experiment.

#include "conclave/testkit.hpp"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace conclave::testkit {

TemporaryDir::TemporaryDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "conclave-test-XXXXXX").string();
  if (!mkdtemp(pattern.data())) throw std::system_error(errno, std::generic_category(), "mkdtemp " + pattern);
  path_ = pattern;
}

TemporaryDir::~TemporaryDir() {
  std::error_code ignored; // a test that left a file open or read-only must not fail for it
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TemporaryDir::write(const std::filesystem::path& relative, std::string_view content) const {
  std::filesystem::path path = path_ / relative;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path.string());
  return path;
}

FakeHost::FakeHost() : FakeHost(Settings{}) {}
FakeHost::FakeHost(Settings settings) : settings_(std::move(settings)) {}

void FakeHost::log(LogLevel level, std::string_view text) noexcept {
  const std::scoped_lock lock(mutex_);
  logs_.push_back({level, std::string(text)});
}

void FakeHost::metric(std::string_view name, std::string_view unit, double value, Reduction reduction) noexcept {
  if (settings_.phase != Phase::train) return;
  const std::scoped_lock lock(mutex_);
  metrics_.push_back({std::string(name), std::string(unit), value, reduction});
}

std::vector<LogLine> FakeHost::logs() const {
  const std::scoped_lock lock(mutex_);
  return logs_;
}

std::vector<RecordedMetric> FakeHost::metrics() const {
  const std::scoped_lock lock(mutex_);
  return metrics_;
}

std::string FakeHost::folder(const char* name) {
  if (settings_.phase == Phase::check) return {};
  const std::scoped_lock lock(mutex_);
  if (!directory_) directory_ = std::make_unique<TemporaryDir>();
  const std::filesystem::path path = directory_->path() / name;
  std::filesystem::create_directories(path);
  return path.string();
}

std::string FakeHost::scratch_dir() { return folder("scratch"); }
std::string FakeHost::cache_dir() { return folder("cache"); }

void FakeHost::parallel_for(std::int64_t n, std::int64_t grain,
                            const std::function<void(std::int64_t begin, std::int64_t end)>& body) {
  (void)grain;
  if (n > 0) body(0, n);
}

Literal::Literal(double number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr; // the shortest text that reads back equal
  value_ = Value::scalar(std::string(text, end));
}

Value map(std::initializer_list<std::pair<std::string, Literal>> members) {
  std::vector<Value::Member> out;
  for (const auto& [key, literal] : members) {
    Value::Member* found = nullptr;
    for (Value::Member& member : out)
      if (member.key == key) found = &member;
    if (found) {
      found->value = literal.value();
    } else {
      out.push_back({key, {}, literal.value()});
    }
  }
  return Value::map(std::move(out));
}

Value list(std::initializer_list<Literal> items) {
  std::vector<Value> out;
  for (const Literal& item : items) out.push_back(item.value());
  return Value::list(std::move(out));
}

Bound bind_options(const OptionTable& table, const Value& with, const std::string& base_directory) {
  Bound bound;
  bound.options = table.make();
  table.bind(with, "with", {base_directory}, bound.options.get(), bound.diagnostics, bound.children);
  return bound;
}

Result<std::shared_ptr<Plugin>> make_plugin(const PluginDescriptor& descriptor, HostContext& host, const Value& with,
                                            const Children& children, const MakeChild& make_child) {
  const std::string& id = descriptor.info.id;
  Bound bound = bind_options(descriptor.options, with);
  if (!bound.ok()) return invalid("its options do not bind:\n" + bound.diagnostics.render(), {}, id);
  std::vector<std::shared_ptr<Plugin>> nested;
  for (const ChildRequest& request : bound.children) {
    if (!make_child)
      return invalid("option " + request.key + " is a nested plugin", "hand it over through `children`", id);
    CONCLAVE_ASSIGN(std::shared_ptr<Plugin> made, make_child(request));
    nested.push_back(std::move(made));
  }
  try {
    for (std::size_t i = 0; i < nested.size(); ++i) bound.children[i].assign(bound.options.get(), nested[i]);
    for (const auto& [name, child] : children) {
      const OptionSpec* spec = descriptor.options.find(name);
      if (!spec || spec->type != OptionType::plugin)
        return invalid("no nested plugin option is called " + name, {}, id);
      // Binding a stand-in block is how the table hands out the function that assigns the member.
      Bound probe = bind_options(descriptor.options, map({{name, map({{"use", spec->kind + "/stand-in"}})}}));
      for (ChildRequest& request : probe.children) request.assign(bound.options.get(), child);
    }
    // The instance may keep a reference to its options, so they share its life.
    CONCLAVE_ASSIGN(std::shared_ptr<Plugin> made, descriptor.create(host, bound.options.get()));
    if (!made) return internal_error("create returned no instance", id);
    struct Held {
      std::shared_ptr<void> options;
      std::shared_ptr<Plugin> plugin; // destroyed first
    };
    auto held = std::make_shared<Held>(Held{std::move(bound.options), std::move(made)});
    Plugin* plugin = held->plugin.get();
    return std::shared_ptr<Plugin>(std::move(held), plugin);
  } catch (const std::exception& problem) {
    return internal_error(std::string("threw: ") + problem.what(), id);
  } catch (...) {
    return internal_error("threw something that is no std::exception", id);
  }
}

const PluginDescriptors& descriptors_of(PluginEntry entry) {
  // Kept for the life of the process, as the host does: libraries are never unloaded.
  static std::mutex mutex;
  static std::map<PluginEntry, std::unique_ptr<PluginDescriptors>> known;
  const std::scoped_lock lock(mutex);
  auto& descriptors = known[entry];
  if (!descriptors) descriptors.reset(entry());
  if (!descriptors) throw std::runtime_error("the plugin's entry returned null: an option table or a descriptor threw");
  return *descriptors;
}

const PluginDescriptor& descriptor_of(PluginEntry entry, std::string_view id) {
  std::string known;
  for (const PluginDescriptor& descriptor : descriptors_of(entry)) {
    if (descriptor.info.id == id) return descriptor;
    known += ' ' + descriptor.info.id;
  }
  throw std::out_of_range("no plugin " + std::string(id) + " in this library; it holds:" + known);
}

} // namespace conclave::testkit
