// Accumulating and reading a step's metrics.

#include "train/step_metrics.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

namespace conclave::train {

at::Tensor nll_by_domain(const at::Tensor& token_nll, const at::Tensor& domains, const at::Tensor& domain_ids) {
  // A masked sum rather than index_add, whose additions are atomic on a GPU and so in no fixed order.
  const at::Tensor rows = token_nll.sum(1, /*keepdim=*/false, at::kDouble);
  return at::where(domain_ids.eq(domains), rows, at::zeros({}, rows.options())).sum(1);
}

StepMetrics::StepMetrics(std::size_t domains, at::Device device)
    : domain_ids_(at::arange(static_cast<std::int64_t>(domains), at::TensorOptions().device(device).dtype(at::kLong))
                      .unsqueeze(1)),
      domain_nll_(
          at::zeros({static_cast<std::int64_t>(domains)}, at::TensorOptions().device(device).dtype(at::kDouble))) {}

void StepMetrics::begin() {
  domain_nll_.zero_();
  for (LossSum& loss : losses_) loss.sum.zero_();
}

LossSum& StepMetrics::slot(const std::string& name) {
  const auto known =
      std::find_if(losses_.begin(), losses_.end(), [&](const LossSum& loss) { return loss.name == name; });
  if (known != losses_.end()) return *known;
  return losses_.emplace_back(LossSum{name, 1, Normaliser::loss_tokens, at::zeros({}, domain_nll_.options())});
}

void StepMetrics::add(const StageOutput& output, const Batch& batch) {
  for (const LocalLoss& loss : output.local_losses) {
    LossSum& total = slot(loss.name);
    total.weight = loss.weight;
    total.normaliser = loss.normaliser;
    total.sum.add_(loss.sum.detach().to(at::kDouble));
  }
  if (output.token_nll.defined())
    domain_nll_.add_(nll_by_domain(output.token_nll.detach(), batch.domains, domain_ids_));
}

std::vector<double> read_packed(const std::vector<at::Tensor>& parts) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& part : parts)
    if (part.defined()) flat.push_back(part.reshape({-1}).to(at::kDouble));
  const at::Tensor host = at::cat(flat).cpu().contiguous();
  const double* data = host.const_data_ptr<double>();
  return {data, data + host.numel()};
}

} // namespace conclave::train
