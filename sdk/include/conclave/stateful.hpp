// Stateful: what a plugin keeps between steps and wants to find again after a resume.
//
// What this is: named scalars and raw arrays, written into the checkpoint's manifest and tensor files under the
// instance's name, which is the key of its block (HostContext::instance_name()). Model weights and optimizer states do not pass here; the host owns those (param.hpp, optimizer.hpp).
// What this is not: a place for paths, times or anything that a changed machine would break.
//
// Threading: called on the step thread between updates. load() is called before the first step, with exactly what
// save() wrote; an unknown or missing name is the plugin's to refuse with a Status.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

/// A dense little-endian array; dtype is a safetensors name: F64 F32 F16 BF16 I64 I32 U8 BOOL.
struct StateArray {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;
};

using StateValue = std::variant<std::int64_t, double, std::string, StateArray>;
using StateMap = std::map<std::string, StateValue>;

class Stateful {
 public:
  virtual ~Stateful();
  virtual void save(StateMap& state) const = 0;
  virtual Status load(const StateMap& state) = 0;
};

} // namespace conclave
