// Accumulating and reading a step's metrics.

#include "train/step_metrics.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

namespace conclave::train {

at::Tensor nll_by_domain(const at::Tensor& token_nll, const at::Tensor& domains, const at::Tensor& domain_ids) {
  // A masked sum rather than index_add, whose additions are atomic on a GPU and so in no fixed order.
  const at::Tensor rows = token_nll.sum(1, /*keepdim=*/false, at::kDouble);
  return at::where(domain_ids.eq(domains), rows, at::zeros({}, rows.options())).sum(1);
}

StepMetrics::StepMetrics(std::size_t domains, at::Device device, std::size_t chunks)
    : domain_ids_(at::arange(static_cast<std::int64_t>(domains), at::TensorOptions().device(device).dtype(at::kLong))
                      .unsqueeze(1)),
      domain_nll_(
          at::zeros({static_cast<std::int64_t>(domains)}, at::TensorOptions().device(device).dtype(at::kDouble))),
      chunks_(chunks) {}

void StepMetrics::begin() {
  domain_nll_.zero_();
  for (LossSum& loss : losses_) loss.sum.zero_();
}

std::size_t StepMetrics::place(const LocalLoss& loss) {
  for (std::size_t i = 0; i < losses_.size(); ++i)
    if (losses_[i].name == loss.name) return i;
  losses_.push_back({loss.name, loss.weight, loss.normaliser, at::zeros({}, domain_nll_.options())});
  return losses_.size() - 1;
}

Status StepMetrics::add(const StageOutput& output, const Batch& batch, std::size_t chunk) {
  const std::vector<LocalLoss>& given = output.local_losses;
  Chunk& own = chunks_[chunk];
  if (!std::exchange(own.known, true))
    for (const LocalLoss& loss : given) own.losses.push_back(place(loss));
  const auto same = [this](std::size_t sum, const LocalLoss& loss) { return losses_[sum].name == loss.name; };
  if (!std::equal(own.losses.begin(), own.losses.end(), given.begin(), given.end(), same)) {
    std::string before, now;
    for (const std::size_t sum : own.losses) before += " " + losses_[sum].name;
    for (const LocalLoss& loss : given) now += " " + loss.name;
    return internal_error("the model's losses were" + before + " and are now" + now +
                          ": a stage returns the same ones each time");
  }
  for (std::size_t i = 0; i < given.size(); ++i) losses_[own.losses[i]].sum.add_(given[i].sum.detach().to(at::kDouble));
  if (output.token_nll.defined())
    domain_nll_.add_(nll_by_domain(output.token_nll.detach(), batch.domains, domain_ids_));
  return {};
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
