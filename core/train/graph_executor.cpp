// When to record, and what a failed recording falls back to.

#include "train/graph_executor.hpp"

#include <dlfcn.h>

#include <utility>

#include "plugin/guard.hpp"
#include "train/graph/cuda_graph.hpp"

namespace conclave::train {

GraphExecutor::GraphExecutor(std::unique_ptr<WorkRecorder> recorder, std::function<void(const std::string&)> note,
                             SegmentHook hook, int eager_steps)
    : recorder_(std::move(recorder)), note_(std::move(note)), hook_(std::move(hook)), eager_steps_(eager_steps) {}

Status GraphExecutor::run(const StepProgram& program) {
  const std::vector<ProgramSegment>& segments = program.segments();
  ++step_;
  for (std::size_t begin = 0, end = 0; begin < segments.size(); begin = end) {
    end = begin + 1;
    if (segments[begin].kind == ProgramSegment::Kind::host) {
      CONCLAVE_RETURN_IF_ERROR(run_segments(program, begin, end));
      continue;
    }
    const std::string& key = segments[begin].key;
    while (end < segments.size() && segments[end].kind == ProgramSegment::Kind::capturable && segments[end].key == key)
      ++end;
    CONCLAVE_RETURN_IF_ERROR(run_of(key, program, begin, end));
  }
  return {};
}

Status GraphExecutor::run_of(const std::string& key, const StepProgram& program, std::size_t begin, std::size_t end) {
  if (entries_.size() == most_keys && !entries_.contains(key)) {
    tell("batches have more shapes than " + std::to_string(most_keys) + " recordings serve");
    return run_segments(program, begin, end);
  }
  Entry& entry = entries_[key];
  if (std::exchange(entry.last_step, step_) != step_) ++entry.steps;
  if (entry.steps <= eager_steps_ || entry.refused) return run_segments(program, begin, end);
  if (entry.work == nullptr) {
    auto recorded = record(program, begin, end);
    if (!recorded.ok()) {
      entry.refused = true;
      tell(recorded.error().render());
      return run_segments(program, begin, end); // a run's first segment sets anew what the others read
    }
    entry.work = std::move(recorded).value();
  }
  const auto from = std::chrono::steady_clock::now();
  CONCLAVE_RETURN_IF_ERROR(guard(nullptr, nullptr, [&]() -> Status {
    entry.work->replay();
    return {};
  }));
  if (hook_) hook_("graph", from, std::chrono::steady_clock::now());
  return {};
}

Status GraphExecutor::run_segments(const StepProgram& program, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    const ProgramSegment& segment = program.segments()[i];
    const auto from = std::chrono::steady_clock::now();
    CONCLAVE_RETURN_IF_ERROR(segment.run());
    if (hook_) hook_(segment.name, from, std::chrono::steady_clock::now());
  }
  return {};
}

Result<std::unique_ptr<RecordedWork>> GraphExecutor::record(const StepProgram& program, std::size_t begin,
                                                            std::size_t end) {
  return guard(nullptr, nullptr, [&] {
    return recorder_->record([&]() -> Status {
      for (std::size_t i = begin; i < end; ++i) CONCLAVE_RETURN_IF_ERROR(program.segments()[i].run());
      return {};
    });
  });
}

void GraphExecutor::tell(const std::string& reason) {
  if (std::exchange(told_, reason) != reason && note_) note_(reason);
}

Result<std::unique_ptr<WorkRecorder>> open_cuda_recorder() {
  void* library = dlopen(graph_library, RTLD_NOW | RTLD_LOCAL);
  const char* why = library == nullptr ? dlerror() : nullptr;
  const auto* make =
      library != nullptr ? static_cast<const MakeCudaRecorder*>(dlsym(library, graph_recorder_symbol)) : nullptr;
  if (make != nullptr) return (*make)();
  return unsupported(
      std::string(graph_library) + " cannot be opened: " + (why != nullptr ? why : "it is of another build"),
      "build on a machine with LibTorch's CUDA libraries (tools/bootstrap --cuda)");
}

} // namespace conclave::train
