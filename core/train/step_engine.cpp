// make_step_engine(): checks what it is given and builds the engine.

#include "train/step_engine.hpp"

#include <ATen/Context.h>

#include <utility>

#include "train/engine.hpp"

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

} // namespace

Result<std::unique_ptr<StepEngine>> make_step_engine(const EngineSettings& settings, EngineParts parts) {
  if (parts.stages.empty() || parts.optimizer == nullptr)
    return internal_error("a step engine needs a stage and an optimizer");
  if (settings.loss_scale.dynamic && settings.compute != at::kHalf)
    return internal_error("a dynamic loss scale needs fp16 compute");
  if (settings.device.kind == Device::Kind::cuda) choose_attention_backends();
  auto engine = std::make_unique<train::Engine>(settings, std::move(parts),
                                                std::make_unique<train::EagerExecutor>(settings.segment_hook));
  CONCLAVE_RETURN_IF_ERROR(engine->prepare());
  return std::unique_ptr<StepEngine>(std::move(engine));
}

} // namespace conclave
