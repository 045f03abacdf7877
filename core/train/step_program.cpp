// The eager executor.

#include "train/step_program.hpp"

namespace conclave::train {

Status EagerExecutor::run(const StepProgram& program, const std::string&) {
  for (const ProgramSegment& segment : program.segments()) CONCLAVE_RETURN_IF_ERROR(segment.run());
  return {};
}

} // namespace conclave::train
