// TCPStore behind values.

#include "launch/store.hpp"

#include <c10/util/Exception.h>

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

Result<bool> Store::wait(const std::vector<std::string>& keys, milliseconds timeout) {
  return ask(*impl_, [&](c10d::Store& store) {
    std::vector<std::string> full;
    for (const std::string& key : keys) full.push_back(impl_->prefix + key);
    try {
      store.wait(full, std::max(timeout, milliseconds(1)));
      return true;
    } catch (const c10::DistStoreError&) { // time is up; a broken connection is a DistNetworkError
      return store.check(full);
    }
  });
}

Result<std::int64_t> Store::add(const std::string& key, std::int64_t count) {
  return ask(*impl_, [&](c10d::Store& store) { return store.add(impl_->prefix + key, count); });
}

Status Store::remove(const std::string& key) {
  return ask(*impl_, [&](c10d::Store& store) { return store.deleteKey(impl_->prefix + key); }).status();
}

Result<std::optional<std::string>> Store::launch() {
  return ask(*impl_, [&](c10d::Store& store) -> std::optional<std::string> {
    try { // a server takes connections a moment before it has the key
      store.wait({launch_key}, std::chrono::seconds(5));
    } catch (const c10::DistStoreError&) {
      return std::nullopt;
    }
    return store.get_to_str(launch_key);
  });
}

} // namespace conclave
