// What torch's ProcessGroupGloo.hpp names of Gloo, whose headers the torch wheel leaves out. Names alone: everything that is
// more than a name lives in libtorch_cpu, and nothing of ours makes one of these or looks into one.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {
class UnboundBuffer;
}

} // namespace gloo
