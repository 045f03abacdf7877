// Learning the model's names, and the vector of a step.

#include "train/step_sums.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "train/square_sums.hpp"
#include "train/text_exchange.hpp"

namespace conclave::train {
namespace {

using nlohmann::json;

Group* pipeline_of(const SumsSettings& settings) {
  return settings.groups != nullptr ? &settings.groups->over({MeshDim::pipeline}) : nullptr;
}

} // namespace

Result<std::unique_ptr<StepSums>> StepSums::make(const ParameterStorage& parameters,
                                                 const std::vector<std::unique_ptr<BufferStorage>>& buffers,
                                                 const SumsSettings& settings) {
  std::unique_ptr<StepSums> self(new StepSums);
  self->settings_ = settings;
  self->first_tensor_rank_ = settings.mesh.index(MeshDim::tensor) == 0 && settings.mesh.index(MeshDim::context) == 0;
  self->domains_ = static_cast<std::int64_t>(settings.domains);

  json own = {{"parameters", json::array()}, {"counters", json::array()}};
  for (const ParameterSlot& slot : parameters.slots())
    if (slot.spec->norm_owner) own["parameters"].push_back(slot.spec->name);
  for (const auto& storage : buffers)
    for (const BufferStorage::Counter& counter : storage->counters())
      own["counters"].push_back(
          {counter.spec->name, counter.spec->report_as, counter.spec->layer, counter.values.numel()});

  std::set<std::string> names;
  std::map<std::string, std::int64_t> begins; // of counters
  for (const std::string& text : exchange_texts(pipeline_of(settings), own.dump(), settings.device)) {
    const json theirs = json::parse(text);
    for (const json& name : theirs["parameters"]) names.insert(name.get<std::string>());
    for (const json& entry : theirs["counters"]) {
      CounterEntry counter{entry[0], entry[1], entry[2], self->counted_elements_, entry[3]};
      if (!begins.emplace(counter.name, counter.begin).second)
        return internal_error("two stages of the pipeline describe the counter `" + counter.name + "`",
                              settings.model_id);
      self->counted_elements_ += counter.elements;
      self->counters_.push_back(std::move(counter));
    }
  }
  // For reports: virtual stages of several ranks interleave the layers.
  std::stable_sort(self->counters_.begin(), self->counters_.end(),
                   [](const CounterEntry& a, const CounterEntry& b) { return a.layer < b.layer; });
  self->parameters_ = static_cast<std::int64_t>(names.size());

  std::vector<std::int64_t> places;
  for (const ParameterSlot& slot : parameters.slots()) {
    const FlatGroup& group = parameters.groups()[slot.group];
    const FlatRange counted = common(slot.range, group.owned);
    if (!slot.counted || counted.size() == 0) continue;
    self->gradients_.push_back(group.gradient.narrow(0, counted.begin, counted.size()));
    places.push_back(std::distance(names.begin(), names.find(slot.spec->name)));
  }
  self->gradient_places_ = at::tensor(places, at::kLong).to(settings.device);
  for (const auto& storage : buffers)
    for (const BufferStorage::Counter& counter : storage->counters())
      self->own_counters_.push_back({counter.values, self->parameters_ + begins.at(counter.spec->name)});
  return self;
}

Status StepSums::learn_losses(const StepMetrics& metrics) {
  json own = json::array();
  for (const LossSum& loss : metrics.losses())
    own.push_back({loss.name, loss.weight, static_cast<int>(loss.normaliser)});
  for (const std::string& text : exchange_texts(pipeline_of(settings_), own.dump(), settings_.device)) {
    for (const json& entry : json::parse(text)) {
      const LossEntry loss{entry[0], entry[1], static_cast<Normaliser>(entry[2].get<int>())};
      const auto known =
          std::find_if(losses_.begin(), losses_.end(), [&](const LossEntry& other) { return other.name == loss.name; });
      if (known == losses_.end()) {
        losses_.push_back(loss);
      } else if (known->weight != loss.weight || known->normaliser != loss.normaliser) {
        return internal_error("stages of the pipeline weigh the loss `" + loss.name + "` differently",
                              settings_.model_id);
      }
    }
  }
  for (const LossSum& loss : metrics.losses())
    own_losses_.push_back(std::distance(
        losses_.begin(),
        std::find_if(losses_.begin(), losses_.end(), [&](const LossEntry& entry) { return entry.name == loss.name; })));
  values_ = at::zeros({parameters_ + losses_begin() + static_cast<std::int64_t>(losses_.size())},
                      at::TensorOptions().device(settings_.device).dtype(at::kDouble));
  losses_known_ = true;
  return {};
}

void StepSums::write_norms() {
  if (!gradients_.empty()) values_.index_copy_(0, gradient_places_, square_sums(gradients_));
}

Status StepSums::gather(const StepMetrics& metrics, const at::Tensor& stop) {
  if (!losses_known_) CONCLAVE_RETURN_IF_ERROR(learn_losses(metrics));
  const bool alone = settings_.groups == nullptr || settings_.groups->world().size() == 1;
  if (!alone) values_.zero_();
  write_norms();
  if (first_tensor_rank_) {
    for (const OwnCounter& counter : own_counters_)
      values_.narrow(0, counter.begin, counter.values.numel()).copy_(counter.values.reshape({-1}));
    values_.narrow(0, parameters_ + domains_begin(), domains_).copy_(metrics.domain_nll());
    for (std::size_t i = 0; i < own_losses_.size(); ++i)
      values_.select(0, parameters_ + losses_begin() + own_losses_[i]).copy_(metrics.losses()[i].sum);
  }
  values_.select(0, parameters_ + stop_place()).copy_(stop);
  if (alone) return {};
  settings_.groups->world().all_reduce(values_).wait();
  for (const OwnCounter& counter : own_counters_)
    counter.values.copy_(values_.narrow(0, counter.begin, counter.values.numel()).view(counter.values.sizes()));
  return {};
}

at::Tensor StepSums::sum_of_squares() const { return sum_in_order(values_.narrow(0, 0, parameters_)); }

at::Tensor StepSums::tail() const { return values_.narrow(0, parameters_, values_.numel() - parameters_); }

} // namespace conclave::train
