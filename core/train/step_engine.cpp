// make_step_engine(): checks what it is given and builds the engine.

#include "train/step_engine.hpp"

#include <ATen/Context.h>

#include <utility>

#include "train/engine.hpp"
#include "train/graph_executor.hpp"

namespace conclave {
namespace {

// Which attention kernels scaled_dot_product_attention may use, best first: cuDNN is twice FlashAttention-2 on Hopper. The
// math kernel stays last for head sizes and masks that the others refuse.
void choose_attention_backends() {
  at::Context& context = at::globalContext();
  context.setSDPUseCuDNN(true);
  context.setSDPUseFlash(true);
  context.setSDPUseMemEfficient(true);
  context.setSDPUseMath(true);
  context.setSDPPriorityOrder({static_cast<std::int64_t>(at::SDPBackend::cudnn_attention),
                               static_cast<std::int64_t>(at::SDPBackend::flash_attention),
                               static_cast<std::int64_t>(at::SDPBackend::efficient_attention),
                               static_cast<std::int64_t>(at::SDPBackend::math)});
}

std::unique_ptr<train::StepExecutor> make_executor(const EngineSettings& settings) {
  const auto note = [&](const std::string& reason) {
    if (settings.graph_note) settings.graph_note(reason);
  };
  if (settings.graphs && settings.device.kind == Device::Kind::cuda) {
    const auto& groups = settings.parallel.groups;
    if (groups != nullptr && groups->world().size() > 1) {
      note("the run has several ranks, and collectives are not recorded yet");
    } else if (auto recorder = train::open_cuda_recorder(); recorder.ok()) {
      return std::make_unique<train::GraphExecutor>(std::move(recorder).value(), settings.graph_note,
                                                    settings.segment_hook, settings.eager_steps);
    } else {
      note(recorder.error().render());
    }
  }
  return std::make_unique<train::EagerExecutor>(settings.segment_hook);
}

} // namespace

Result<std::unique_ptr<StepEngine>> make_step_engine(const EngineSettings& settings, EngineParts parts) {
  if (parts.stages.empty() || parts.optimizer == nullptr)
    return internal_error("a step engine needs a stage and an optimizer");
  if (settings.loss_scale.dynamic && settings.compute != at::kHalf)
    return internal_error("a dynamic loss scale needs fp16 compute");
  if (settings.device.kind == Device::Kind::cuda) choose_attention_backends();
  auto engine = std::make_unique<train::Engine>(settings, std::move(parts), make_executor(settings));
  CONCLAVE_RETURN_IF_ERROR(engine->prepare());
  return std::unique_ptr<StepEngine>(std::move(engine));
}

} // namespace conclave
