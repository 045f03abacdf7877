// Passes, a pipeline, and what follows it.

#include "plan/step_time.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "plan/pipeline_time.hpp"

namespace conclave::plan {
namespace {

using Parts = std::array<double, step_part_count>;

double& at(Parts& parts, StepPart part) { return parts[static_cast<std::size_t>(part)]; }

StepPart part_of(OperatorWork::Kind kind) {
  switch (kind) {
    case OperatorWork::Kind::product: return StepPart::products;
    case OperatorWork::Kind::grouped_product: return StepPart::grouped_products;
    case OperatorWork::Kind::attention:
    case OperatorWork::Kind::attention_backward: return StepPart::attention;
    case OperatorWork::Kind::memory: break;
  }
  return StepPart::memory;
}

/// What one pass on one micro-batch takes, and sends.
struct PassTime {
  Parts parts{};
  SentBytes sent;

  [[nodiscard]] double seconds() const { return std::accumulate(parts.begin(), parts.end(), 0.0); }
};

class StepTimer {
 public:
  StepTimer(const StepWork& work, const Machine& machine)
      : work_(work), machine_(machine), rates_(machine.rates(work.compute)) {}

  Result<StepTime> time() {
    CONCLAVE_RETURN_IF_ERROR(check_links());
    const std::size_t ranks = work_.ranks.size();
    std::vector<ChunkSeconds> chunks(ranks * static_cast<std::size_t>(work_.shape.virtual_stages));
    std::vector<std::vector<std::pair<PassTime, PassTime>>> passes(ranks);
    for (std::size_t rank = 0; rank < ranks; ++rank)
      for (std::size_t own = 0; own < work_.ranks[rank].chunks.size(); ++own) {
        const ChunkWork& chunk = work_.ranks[rank].chunks[own];
        const auto& [forward, backward] =
            passes[rank].emplace_back(pass(chunk.stage.forward), pass(chunk.stage.backward));
        chunks[own * ranks + rank] = {forward.seconds(), backward.seconds(), message(chunk.output_bytes),
                                      message(chunk.input_bytes)};
      }
    CONCLAVE_ASSIGN(const std::vector<PlayedRank> played, play_pipeline(work_.shape, chunks));
    StepTime slowest;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      StepTime own = rank_time(work_.ranks[rank], passes[rank], played[rank]);
      if (own.seconds > slowest.seconds) slowest = std::move(own);
    }
    slowest.bound = bound(slowest);
    return slowest;
  }

 private:
  [[nodiscard]] Status check_links() const {
    if (!rates_.known())
      return unsupported("the machine file has no rates for " + std::string(type_name(work_.compute)),
                         "add them, or choose another precision.compute", machine_.name);
    if (work_.mesh.world_size() > machine_.gpus_per_node && machine_.between_nodes.bandwidth.value == 0)
      return unsupported(std::to_string(work_.mesh.world_size()) + " GPUs are more than one node's " +
                             std::to_string(machine_.gpus_per_node) + ", and the machine file has no between_nodes",
                         "add bandwidth and latency of the network, or plan for fewer GPUs", machine_.name);
    return {};
  }

  static const char* type_name(Compute compute) {
    switch (compute) {
      case Compute::bf16: return "bf16";
      case Compute::fp16: return "fp16";
      case Compute::fp64: return "fp64";
      case Compute::fp32: break;
    }
    return "fp32";
  }

  const GroupPlace& place(const std::vector<MeshDim>& dims) {
    const auto [found, fresh] = places_.try_emplace(dims);
    if (fresh) found->second = place_group(work_.mesh, dims, machine_);
    return found->second;
  }

  PassTime pass(const PassWork& work) {
    PassTime time;
    int enqueued = 0;
    for (const OperatorWork& op : work.operators) {
      at(time.parts, part_of(op.kind)) += op.times * seconds_of(op, machine_, rates_);
      enqueued += op.times;
    }
    for (const ExchangeWork& exchange : work.exchanges) {
      const GroupPlace& group = place({exchange.over});
      const bool experts = exchange.over == MeshDim::expert || exchange.over == MeshDim::expert_data;
      at(time.parts, experts ? StepPart::expert_exchange : StepPart::tensor_exchange) +=
          exchange.times * seconds_of(exchange.kind, exchange.bytes, group, machine_);
      const SentBytes sent = sent_by(exchange.kind, exchange.bytes, group);
      time.sent += {sent.within_node * exchange.times, sent.between_nodes * exchange.times};
      enqueued += exchange.times;
    }
    const double host = work_.graphs ? 0 : enqueued * machine_.host_operator.seconds;
    at(time.parts, StepPart::host) =
        std::max(0.0, host - time.seconds()) + work.host_waits * machine_.host_wait.seconds;
    return time;
  }

  bool pipeline_crosses_nodes() { return place({MeshDim::pipeline}).crosses_nodes(); }

  double message(double bytes) {
    if (bytes == 0 || work_.shape.ranks == 1) return 0;
    const LinkRates& link = pipeline_crosses_nodes() ? machine_.between_nodes : machine_.within_node;
    return link.latency.seconds + bytes / link.bandwidth.value;
  }

  StepTime rank_time(const RankWork& rank, const std::vector<std::pair<PassTime, PassTime>>& passes,
                     const PlayedRank& played) {
    StepTime time;
    const double micro_batches = work_.shape.micro_batches;
    for (std::size_t own = 0; own < passes.size(); ++own) {
      const auto& [forward, backward] = passes[own];
      for (std::size_t part = 0; part < step_part_count; ++part)
        time.parts[part] += micro_batches * (forward.parts[part] + backward.parts[part]);
      SentBytes micro = forward.sent;
      micro += backward.sent;
      const double messages = rank.chunks[own].input_bytes + rank.chunks[own].output_bytes;
      (pipeline_crosses_nodes() ? micro.between_nodes : micro.within_node) += messages;
      time.sent += {micro.within_node * micro_batches, micro.between_nodes * micro_batches};
    }
    at(time.parts, StepPart::pipeline_wait) = played.end - played.busy;
    double sums = 0, gathers = 0;
    for (const GradientSum& sum : rank.sums) {
      const GroupPlace& group = place(sum.over);
      const bool sharded = sum.gathered_bytes > 0;
      const Collective kind = sharded ? Collective::reduce_scatter : Collective::all_reduce;
      sums += seconds_of(kind, sum.reduced_bytes, group, machine_);
      if (sharded) gathers += seconds_of(Collective::all_gather, sum.gathered_bytes, group, machine_);
      time.sent += sent_by(kind, sum.reduced_bytes, group);
      time.sent += sent_by(Collective::all_gather, sum.gathered_bytes, group);
    }
    at(time.parts, StepPart::gradient_sums) = work_.sums_overlap ? std::max(0.0, sums - played.last_pass) : sums;
    at(time.parts, StepPart::value_gathers) = gathers;
    at(time.parts, StepPart::update) = rank.update_bytes / machine_.memory_bandwidth.value;
    time.seconds = std::accumulate(time.parts.begin(), time.parts.end(), 0.0);
    return time;
  }

  /// The class of parts that takes the most; exchanges count for the slowest link that they use.
  std::string bound(const StepTime& time) {
    const auto link = [this](const std::vector<MeshDim>& dims) {
      return place(dims).crosses_nodes() ? "links between nodes" : "links within nodes";
    };
    std::map<std::string, double> classes;
    classes["compute"] = time[StepPart::products] + time[StepPart::grouped_products] + time[StepPart::attention];
    classes["memory bandwidth"] = time[StepPart::memory] + time[StepPart::update];
    classes["pipeline bubble"] = time[StepPart::pipeline_wait];
    classes["host"] = time[StepPart::host];
    classes[link({MeshDim::tensor})] += time[StepPart::tensor_exchange];
    classes[link({MeshDim::expert})] += time[StepPart::expert_exchange];
    classes[link({MeshDim::data})] += time[StepPart::gradient_sums] + time[StepPart::value_gathers];
    return std::max_element(classes.begin(), classes.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; })
        ->first;
  }

  const StepWork& work_;
  const Machine& machine_;
  const TypeRates& rates_;
  std::map<std::vector<MeshDim>, GroupPlace> places_;
};

} // namespace

const char* to_string(StepPart part) noexcept {
  switch (part) {
    case StepPart::products: return "products";
    case StepPart::grouped_products: return "grouped products";
    case StepPart::attention: return "attention";
    case StepPart::memory: return "memory-bound kernels";
    case StepPart::host: return "waiting for the host";
    case StepPart::tensor_exchange: return "tensor ranks' exchange";
    case StepPart::expert_exchange: return "expert ranks' exchange";
    case StepPart::pipeline_wait: return "waiting in the pipeline";
    case StepPart::gradient_sums: return "sums of gradients";
    case StepPart::update: return "norm and update";
    case StepPart::value_gathers: return "gathers of values";
  }
  return "";
}

Result<StepTime> step_time(const StepWork& work, const Machine& machine) { return StepTimer(work, machine).time(); }

} // namespace conclave::plan
