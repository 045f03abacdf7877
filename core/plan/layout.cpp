// A search in the order of preference.

#include "plan/layout.hpp"

#include <optional>
#include <string>
#include <utility>

#include "plan/divisors.hpp"

namespace conclave::plan {
namespace {

constexpr std::int64_t most_tensor_ranks = 8; // of one machine: they wait for each other several times a layer

} // namespace

Result<ParallelSizes> choose_layout(const Subject& subject, std::int64_t ranks) {
  const std::int64_t capacity = subject.experiment->hardware.gpu_memory;
  std::optional<std::pair<std::int64_t, ParallelSizes>> least;
  std::string refused;
  for (const std::int64_t pipeline : divisors(ranks))
    for (const std::int64_t tensor : divisors(ranks / pipeline)) {
      if (tensor > most_tensor_ranks) break;
      for (const std::int64_t expert : divisors(ranks / pipeline)) {
        const ParallelSizes sizes{tensor, pipeline, expert, ranks / pipeline / tensor};
        CONCLAVE_ASSIGN(const Mesh mesh, resolve_mesh(sizes, ranks, 0));
        const auto planned = plan_memory(subject, mesh);
        if (!planned.ok()) {
          if (planned.error().code == Code::internal) return planned.error();
          if (refused.empty()) refused = describe(mesh) + ": " + planned.error().what;
          continue;
        }
        const std::int64_t need = fullest(*planned).sum() + outside_allocator;
        if (capacity == 0 || need <= capacity) return sizes;
        if (!least || need < least->first) least = {need, sizes};
      }
    }
  if (least) return least->second;
  return unsupported("no layout of " + std::to_string(ranks) + " ranks suits the experiment (" + refused + ")",
                     "use another number of ranks, or change train.batch and train.micro_batch");
}

} // namespace conclave::plan
