// getaddrinfo, bind, connect with a deadline.

#include "launch/sockets.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "launch/ranks.hpp"

namespace conclave {
namespace {

using Clock = std::chrono::steady_clock;

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

/// Null when the name is unknown; `why` then says so.
Addresses resolve(const std::string& host, int port, int flags, std::string& why) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) why = gai_strerror(error);
  return Addresses(error == 0 ? list : nullptr);
}

std::string numeric(const sockaddr* address, socklen_t length) {
  char host[NI_MAXHOST] = "";
  getnameinfo(address, length, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return host;
}

StoreAddress bound_address(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if (getsockname(fd, address, &length) != 0) return {"", 0};
  const int port = address->sa_family == AF_INET6 ? ntohs(reinterpret_cast<sockaddr_in6*>(address)->sin6_port)
                                                  : ntohs(reinterpret_cast<sockaddr_in*>(address)->sin_port);
  std::string host = numeric(address, length);
  if (host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  return {std::move(host), port};
}

/// errno of the attempt; 0 when it is bound.
int try_bind(const addrinfo& address, FileHandle& out) {
  FileHandle fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); // a run that was here a minute ago is no obstacle
  if (::bind(fd.get(), address.ai_addr, address.ai_addrlen) != 0) return errno;
  // Two servers may be bound to one port until one of them listens.
  if (::listen(fd.get(), SOMAXCONN) != 0) return errno;
  out = std::move(fd);
  return 0;
}

/// "" when it is connected, else why not.
std::string try_connect(const addrinfo& address, std::chrono::milliseconds timeout) {
  const FileHandle fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return std::strerror(errno);
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return {};
  if (errno != EINPROGRESS) return std::strerror(errno);
  pollfd waiting{fd.get(), POLLOUT, 0};
  const int ready = ::poll(&waiting, 1, static_cast<int>(timeout.count()));
  if (ready <= 0) return ready == 0 ? "no answer" : std::strerror(errno);
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error == 0 ? std::string() : std::strerror(error);
}

} // namespace

Result<BoundSocket> bind_socket(const StoreAddress& address, bool remote) {
  std::string why;
  Addresses named = resolve(address.host, address.port, 0, why);
  if (!named)
    return unsupported("the rendezvous address '" + address.host + "' is unknown: " + why,
                       "set MASTER_ADDR to the name or number of rank 0's machine");
  const bool everywhere =
      remote && is_loopback(numeric(named->ai_addr, named->ai_addrlen)); // /etc/hosts says 127.0.1.1 of its own name
  BoundSocket bound;
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = everywhere ? nullptr : named.get(); one != nullptr && error != 0; one = one->ai_next)
    if (const int latest = try_bind(*one, bound.socket); error == EADDRNOTAVAIL || latest == 0) error = latest;
  if (error == EADDRNOTAVAIL) {
    const Addresses any = resolve("", address.port, AI_PASSIVE, why);
    for (const addrinfo* one = any.get(); one != nullptr && error != 0; one = one->ai_next)
      error = try_bind(*one, bound.socket);
  }
  if (error == EADDRINUSE)
    return unsupported("the rendezvous port " + std::to_string(address.port) + " of " + address.host + " is in use",
                       "set MASTER_PORT to a free port, the same for every rank, or end what has it: another run?");
  if (error != 0)
    return unsupported("the rendezvous cannot listen at " + address.text() + ": " + std::strerror(error),
                       "set MASTER_ADDR and MASTER_PORT to an address of rank 0's machine and a free port");
  bound.address = bound_address(bound.socket.get());
  return bound;
}

Result<StoreAddress> find_listener(const StoreAddress& address, std::chrono::milliseconds timeout) {
  using std::chrono::milliseconds;
  const Clock::time_point deadline = Clock::now() + timeout;
  std::string why;
  for (milliseconds pause{10};; pause = std::min(2 * pause, milliseconds(500))) {
    const Addresses named = resolve(address.host, address.port, 0, why);
    for (const addrinfo* one = named.get(); one != nullptr; one = one->ai_next) {
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
      why = try_connect(*one, std::clamp(left, milliseconds(1), milliseconds(5000)));
      if (why.empty()) return StoreAddress{numeric(one->ai_addr, one->ai_addrlen), address.port};
    }
    const Clock::duration left = deadline - Clock::now();
    if (left <= Clock::duration::zero()) break;
    std::this_thread::sleep_for(std::min<Clock::duration>(pause, left));
  }
  return Error{
      Code::peer_lost, "",
      "nobody answers at the rendezvous address " + address.text() + " within " + seconds_text(timeout) + ": " + why,
      "see whether rank 0 was started and what it says; MASTER_ADDR and MASTER_PORT must be those of its "
      "machine, open to this one; ranks that start late need a longer CONCLAVE_RENDEZVOUS_TIMEOUT"};
}

std::string local_address_towards(const std::string& host) {
  std::string why;
  const Addresses there = resolve(host, 9, AI_NUMERICHOST, why); // no packet is sent, any port will do
  if (!there) return {};
  const FileHandle fd(::socket(there->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), there->ai_addr, there->ai_addrlen) != 0) return {};
  return bound_address(fd.get()).host;
}

bool is_loopback(const std::string& numeric_host) { return numeric_host.starts_with("127.") || numeric_host == "::1"; }

} // namespace conclave
