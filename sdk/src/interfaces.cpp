// Key functions of the SDK's interfaces: their vtables and type identities live in libconclave_sdk and nowhere else.

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
