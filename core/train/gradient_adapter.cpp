// Post-accumulate hooks that write into GradSinks.

#include "train/gradient_adapter.hpp"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace conclave::train {
namespace {

class SinkHook final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit SinkHook(GradSink& sink) : sink_(sink) {}

  void operator()(const torch::autograd::Variable& leaf) override {
    const at::NoGradGuard no_grad;
    at::Tensor& contribution = leaf.mutable_grad();
    if (!contribution.defined()) return;
    if (sink_.overwrite()) {
      sink_.gradient.copy_(contribution);
    } else {
      sink_.gradient.add_(contribution);
    }
    contribution.reset();
    sink_.ready();
  }

 private:
  GradSink& sink_;
};

} // namespace

void attach_gradient_adapter(ParameterSlot& slot) {
  torch::autograd::impl::set_post_acc_grad_hooks(slot.value, std::make_unique<SinkHook>(slot.sink));
}

} // namespace conclave::train
