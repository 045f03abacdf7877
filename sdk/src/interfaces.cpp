// Key functions of the SDK's interfaces: their vtables and type identities live in libconclave_sdk and nowhere else.

#include <algorithm>

#include "conclave/checkpoint_policy.hpp"
#include "conclave/document.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"
#include "conclave/monitor.hpp"
#include "conclave/plugin.hpp"
#include "conclave/scheduler.hpp"
#include "conclave/source.hpp"
#include "conclave/stateful.hpp"
#include "conclave/tokenizer.hpp"

namespace conclave {

Plugin::~Plugin() = default;
HostContext::~HostContext() = default;
Stateful::~Stateful() = default;
ColumnWriter::~ColumnWriter() = default;
ColumnRow::~ColumnRow() = default;
ShardReader::~ShardReader() = default;
Source::~Source() = default;
Filter::~Filter() = default;
EditFilter::~EditFilter() = default;
DedupFilter::~DedupFilter() = default;
Tokenizer::~Tokenizer() = default;
Scheduler::~Scheduler() = default;
Monitor::~Monitor() = default;
CheckpointPolicy::~CheckpointPolicy() = default;

RandomStream HostContext::rng(std::string_view name) const {
  std::string full = instance_name();
  full += '/';
  full += name;
  return {seed(), full};
}

double StepReport::value(const std::string& name, double fallback) const {
  for (const Metric& metric : metrics)
    if (metric.labels.empty() && metric.name == name) return metric.value;
  return fallback;
}

std::vector<Metric> StepReport::expert_imbalance() const {
  struct Layer {
    std::string name;
    double sum = 0, most = 0;
    int experts = 0;
  };
  std::vector<Layer> layers;
  for (const Metric& metric : metrics) {
    if (metric.name != "expert_load" || metric.labels.empty() || metric.labels[0].first != "layer") continue;
    const std::string& name = metric.labels[0].second;
    auto layer = std::find_if(layers.begin(), layers.end(), [&](const Layer& known) { return known.name == name; });
    if (layer == layers.end()) layer = layers.insert(layer, {name});
    layer->sum += metric.value;
    layer->most = std::max(layer->most, metric.value);
    ++layer->experts;
  }
  std::vector<Metric> ratios;
  for (const Layer& layer : layers)
    if (layer.sum > 0)
      ratios.push_back({"expert_load_max_ratio",
                        "",
                        layer.most * layer.experts / layer.sum,
                        Reduction::none,
                        {{"layer", layer.name}}});
  return ratios;
}

const char* to_string(MeshDim dim) noexcept {
  switch (dim) {
    case MeshDim::pipeline: return "pipeline";
    case MeshDim::data: return "data";
    case MeshDim::context: return "context";
    case MeshDim::tensor: return "tensor";
    case MeshDim::expert_data: return "expert_data";
    case MeshDim::expert: return "expert";
  }
  return "?";
}

} // namespace conclave
