// Optimizer: one update of the master parameters from the main gradients.
//
// The host owns masters, gradients and states, and hands them over as segments. An elementwise optimizer gets flat ranges,
// which may cover many parameters of one decay class (and, when states are sharded over ranks, only this rank's part). A
// whole-matrix optimizer gets one segment for each parameter in its shape.
//
// The update must be a pure function of the segments and scalars, must not sync with the host, and must leave everything
// untouched where gate.apply is 0.
//
// Threading: the step thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "conclave/param.hpp"
#include "conclave/plugin.hpp"

namespace conclave {

struct OptimizerTraits {
  bool elementwise = true;
  std::vector<std::string> states; ///< one tensor each of the master's type and shape, starting at 0: "exp_avg", ...
  bool writes_values = false;      ///< step() also fills Segment::value; else the host does, in a pass of its own
};

struct Segment {
  DecayClass decay = DecayClass::decay;
  const ParamSpec* parameter = nullptr; ///< null when an elementwise segment covers several
  std::int64_t offset = 0;              ///< of the segment within the parameter, in elements; 0 when parameter is null
  at::Tensor master;                    ///< fp32 or fp64, contiguous
  at::Tensor gradient;                  ///< same type and shape; may be overwritten
  std::vector<at::Tensor> states;       ///< in the order of the traits
  /// What the stage computes with: the masters rounded to the compute type, same shape. Undefined where the types agree.
  at::Tensor value = {};
};

struct UpdateScalars {
  at::Tensor learning_rate;       ///< scalar on the device, master type
  at::Tensor step;                ///< scalar on the device, fp32: number of applied updates including this one
  const StepGate* gate = nullptr; ///< gradient * gate->gradient_scale is the gradient to use
};

class Optimizer : public Plugin {
 public:
  static constexpr const char* kind = "optimizer";
  ~Optimizer() override;

  [[nodiscard]] virtual OptimizerTraits traits() const = 0;
  /// The peak learning rate that the scheduler scales.
  [[nodiscard]] virtual double peak_learning_rate() const = 0;
  virtual void step(std::span<Segment> segments, const UpdateScalars& scalars) = 0;
};

} // namespace conclave
