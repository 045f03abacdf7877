// The eager executor.

#include "train/step_program.hpp"

namespace conclave::train {

Status EagerExecutor::run(const StepProgram& program) {
  for (const ProgramSegment& segment : program.segments()) {
    const auto begin = std::chrono::steady_clock::now();
    CONCLAVE_RETURN_IF_ERROR(segment.run());
    if (hook_) hook_(segment.name, begin, std::chrono::steady_clock::now());
  }
  return {};
}

} // namespace conclave::train
