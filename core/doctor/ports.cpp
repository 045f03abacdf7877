// bind and listen.

#include "doctor/ports.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "io/file_handle.hpp"

namespace conclave::doctor {

Check check_port(int port) {
  const std::string name = "port " + std::to_string(port);
  const FileHandle socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); // a run that ended a minute ago is no obstacle
  const bool bound = socket && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                     ::listen(socket.get(), 1) == 0;
  if (bound) return {name, Verdict::ok, "free", ""};
  return {name, Verdict::fail, errno == EADDRINUSE ? "in use" : std::strerror(errno),
          "`ss -ltnp sport = :" + std::to_string(port) + "` names who listens; end it, or choose another port"};
}

} // namespace conclave::doctor
