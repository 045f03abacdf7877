// Cross entropy.

#include "loss.hpp"

#include "kernels.hpp"

namespace conclave::cuda {

void Kernels::cross_entropy(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& mask,
                            double label_smoothing, double z_loss, const at::Tensor& loss, const at::Tensor& nll,
                            const at::Tensor& gradient) const {
  CONCLAVE_KERNEL("cross_entropy", logits, gradient);
  TORCH_CHECK(labels.scalar_type() == at::kLong && mask.scalar_type() == at::kBool,
              "labels are int64, the mask is bool");
  CrossEntropy c{};
  c.logits = floats(logits);
  c.labels = static_cast<const std::int64_t*>(data(labels));
  c.mask = static_cast<const bool*>(data(mask));
  c.rows = logits.size(0);
  c.columns = logits.size(1);
  c.label_smoothing = static_cast<float>(label_smoothing);
  c.z_loss = static_cast<float>(z_loss);
  c.loss = mutable_floats(loss);
  c.nll = mutable_floats(nll);
  c.gradient = mutable_data(gradient);
  c.type = gradient.defined() ? type_of(gradient) : Type::fp32;
  cuda::cross_entropy(c, current_stream());
  check_launch();
}

} // namespace conclave::cuda
