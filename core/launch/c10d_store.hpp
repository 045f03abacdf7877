// What a Store is inside, for those who hand it on to c10d. Slow to compile: sources only.
#pragma once

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <string>

#include "launch/store.hpp"

namespace conclave {

struct Store::Impl {
  c10::intrusive_ptr<c10d::TCPStore> store;
  std::string prefix;
  std::string where; ///< host:port
};

} // namespace conclave
