// Status and Error: text form and exit codes.

#include "conclave/status.hpp"

namespace conclave {

int exit_code(Code code) noexcept {
  switch (code) {
    case Code::internal: return 1;
    case Code::invalid_argument: return 2;
    case Code::unsupported: return 3;
    case Code::training_failed: return 4;
    case Code::storage: return 5;
    case Code::stopped: return 75;
    case Code::peer_lost: return 76;
  }
  return 1;
}

PeerLost::~PeerLost() = default;

std::string Error::render() const {
  std::string text = where;
  if (!text.empty()) text += ": ";
  text += what;
  if (!fix.empty()) text += ": " + fix;
  return text;
}

namespace {
Error make(Code code, std::string what, std::string fix, std::string where) {
  return {code, std::move(where), std::move(what), std::move(fix)};
}
} // namespace

Error invalid(std::string what, std::string fix, std::string where) {
  return make(Code::invalid_argument, std::move(what), std::move(fix), std::move(where));
}
Error unsupported(std::string what, std::string fix, std::string where) {
  return make(Code::unsupported, std::move(what), std::move(fix), std::move(where));
}
Error storage_error(std::string what, std::string fix, std::string where) {
  return make(Code::storage, std::move(what), std::move(fix), std::move(where));
}
Error internal_error(std::string what, std::string where) {
  return make(Code::internal, std::move(what), {}, std::move(where));
}

} // namespace conclave
