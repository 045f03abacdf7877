// TCPStore behind values.

#include "launch/store.hpp"

#include <c10/util/Exception.h>
#include <c10/util/Logging.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "launch/c10d_store.hpp"
#include "launch/sockets.hpp"

namespace conclave {
namespace {

using std::chrono::milliseconds;

constexpr const char* launch_key = "conclave/launch";

/// What was thrown, without torch's stack.
std::string describe(const std::exception& problem) {
  const auto* error = dynamic_cast<const c10::Error*>(&problem);
  const std::string text = error != nullptr ? error->what_without_backtrace() : problem.what();
  return text.substr(0, text.find('\n'));
}

/// What c10d writes of a wait that takes long or a rank that is gone is pages of frames; our errors say who it was. A user's
/// own level stays. Before c10d has threads, and once.
void silence_c10d() {
  static const bool done = [] {
    constexpr int fatal = 3; // of c10/util/logging_is_not_google_glog.h
    if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = fatal;
    return true;
  }();
  static_cast<void>(done);
}

/// Runs one request.
template <class Request>
auto ask(const Store::Impl& impl, Request&& request) -> Result<decltype(request(*impl.store))> {
  try {
    return request(*impl.store);
  } catch (const std::exception& problem) {
    return Error{Code::peer_lost, "", "the rendezvous store at " + impl.where + " is gone: " + describe(problem),
                 "the process that hosts it has ended: see its log"};
  }
}

c10::intrusive_ptr<c10d::TCPStore> client(const StoreAddress& numeric, milliseconds timeout) {
  silence_c10d();
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(numeric.port);
  options.waitWorkers = false;
  options.timeout = timeout;
  return c10::make_intrusive<c10d::TCPStore>(numeric.host, options);
}

} // namespace

struct StoreServer::Impl {
  c10::intrusive_ptr<c10d::TCPStore> store;
};

StoreServer::StoreServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StoreServer::~StoreServer() = default;

int StoreServer::port() const noexcept { return impl_->store->getPort(); }

Result<std::unique_ptr<StoreServer>> StoreServer::start(const StoreAddress& address, bool remote,
                                                        const std::string& launch) {
  CONCLAVE_ASSIGN(BoundSocket bound, bind_socket(address, remote));
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(bound.address.port);
  options.isServer = true;
  options.waitWorkers = false;
  silence_c10d();
  options.masterListenFd = bound.socket.release(); // the server's from now on
  try {
    auto impl = std::make_unique<Impl>();
    impl->store = c10::make_intrusive<c10d::TCPStore>(bound.address.host, options);
    static_cast<c10d::Store&>(*impl->store).set(launch_key, launch);
    return std::unique_ptr<StoreServer>(new StoreServer(std::move(impl)));
  } catch (const std::exception& problem) {
    return unsupported("the rendezvous store cannot be started at " + address.text() + ": " + describe(problem),
                       "set MASTER_ADDR and MASTER_PORT to an address of rank 0's machine and a free port");
  }
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::connect(const StoreAddress& address, const std::string& prefix,
                                              milliseconds timeout) {
  // Found by us first: c10d complains on standard error for each attempt.
  CONCLAVE_ASSIGN(const StoreAddress numeric, find_listener(address, timeout));
  try {
    auto impl = std::make_unique<Impl>();
    impl->store = client(numeric, std::max(timeout, milliseconds(1000)));
    impl->prefix = prefix;
    impl->where = address.text();
    return std::unique_ptr<Store>(new Store(std::move(impl)));
  } catch (const std::exception& problem) {
    return unsupported("what answers at " + address.text() + " is no rendezvous store: " + describe(problem),
                       "set MASTER_ADDR and MASTER_PORT to those of this run's rank 0");
  }
}

const std::string& Store::host() const noexcept { return impl_->store->getHost(); }

Status Store::set(const std::string& key, const std::string& value) {
  return ask(*impl_,
             [&](c10d::Store& store) {
               store.set(impl_->prefix + key, value);
               return true;
             })
      .status();
}

Result<std::optional<std::string>> Store::find(const std::string& key) {
  return ask(*impl_, [&](c10d::Store& store) -> std::optional<std::string> {
    if (!store.check({impl_->prefix + key})) return std::nullopt;
    return store.get_to_str(impl_->prefix + key);
  });
}

Result<std::vector<std::string>> Store::get(const std::vector<std::string>& keys) {
  return ask(*impl_, [&](c10d::Store& store) {
    std::vector<std::string> full;
    for (const std::string& key : keys) full.push_back(impl_->prefix + key);
    std::vector<std::string> values;
    for (const auto& value : store.multiGet(full)) values.emplace_back(value.begin(), value.end());
    return values;
  });
}

Result<bool> Store::wait(const std::vector<std::string>& keys, milliseconds timeout, milliseconds waited) {
  // Asked again and again: TCPStore's own wait warns of every timeout.
  using Clock = std::chrono::steady_clock;
  std::vector<std::string> full;
  for (const std::string& key : keys) full.push_back(impl_->prefix + key);
  const Clock::time_point deadline = Clock::now() + timeout, begin = Clock::now() - waited;
  for (;;) {
    CONCLAVE_ASSIGN(const bool there, ask(*impl_, [&](c10d::Store& store) { return store.check(full); }));
    const Clock::time_point now = Clock::now();
    if (there || now >= deadline) return there;
    // Whoever has waited long is in no hurry, and a store has many clients.
    const Clock::duration pause = std::clamp<Clock::duration>((now - begin) / 8, milliseconds(1), milliseconds(200));
    std::this_thread::sleep_for(std::min(pause, deadline - now));
  }
}

Result<std::int64_t> Store::add(const std::string& key, std::int64_t count) {
  return ask(*impl_, [&](c10d::Store& store) { return store.add(impl_->prefix + key, count); });
}

Status Store::remove(const std::string& key) {
  return ask(*impl_, [&](c10d::Store& store) { return store.deleteKey(impl_->prefix + key); }).status();
}

Result<std::optional<std::string>> Store::launch() {
  const auto look = [this] {
    return ask(*impl_, [&](c10d::Store& store) -> std::optional<std::string> {
      if (!store.check({launch_key})) return std::nullopt;
      return store.get_to_str(launch_key);
    });
  };
  auto launch = look();
  for (int i = 0; i < 50 && launch.ok() && !*launch; ++i) { // a server takes connections a moment before it has the key
    std::this_thread::sleep_for(milliseconds(20));
    launch = look();
  }
  return launch;
}

} // namespace conclave
