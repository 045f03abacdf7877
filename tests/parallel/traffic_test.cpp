// What a rank sends in a step, against the formulas of the literature.
//
//   ZeRO stage 1 (Rajbhandari et al. 2020): reduce-scatter of gradients and all-gather of values, (n-1)/n of each
//   tensor and sequence parallelism (Korthikanti et al. 2022): an all-gather and a reduce-scatter of the activations around
//     attention and around each dense feed-forward layer, and their adjoints; here also around the embedding and the head
//   pipeline (Narayanan et al. 2021): the activations of a micro-batch forward, their gradient back

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <tuple>

#include "small_run.hpp"

namespace conclave {
namespace {

using namespace testing;

constexpr double element = 8;                                                             // bytes, fp64
constexpr double micro_batches = static_cast<double>(rows / micro_rows);                  // of one data rank
constexpr double activation = static_cast<double>(micro_rows * length * width) * element; // of a micro-batch

double bytes(const std::map<std::string, Traffic>& sent, const std::string& group, Collective kind) {
  const auto found = sent.find(group);
  return found == sent.end() ? 0 : found->second.bytes[static_cast<std::size_t>(kind)];
}

std::unique_ptr<Trained> one_step(const Layout& layout, Network network = {}) {
  at::set_num_threads(1);
  network.bucket = std::int64_t{1} << 30;
  auto trained = std::make_unique<Trained>();
  train(network, layout, 0, 1, *trained);
  return trained;
}

/// Elements that are reduced over a group: parameters, each on a multiple of 64, with what fills a group up to a part for
/// each rank.
double reduced_elements(const std::vector<StageDescription>& chunks, const std::vector<MeshDim>& over, int ranks) {
  std::map<std::tuple<DecayClass, bool>, std::int64_t> groups;
  for (const StageDescription& chunk : chunks)
    for (const ParamSpec& spec : chunk.parameters) {
      if (spec.grad_sum_over != over) continue;
      std::int64_t count = 1;
      for (const std::int64_t size : spec.shape) count *= size;
      groups[{spec.decay, spec.full_precision}] += (count + 63) / 64 * 64;
    }
  double total = 0;
  for (const auto& [key, size] : groups)
    total += static_cast<double>((size + 64 * ranks - 1) / (64 * ranks) * (64 * ranks));
  return total;
}

TEST(Traffic, DataParallelSendsGradientsOnceAndValuesOnce) {
  const auto trained = one_step({1, 1, 4, 1, 2});
  const double dense = reduced_elements(trained->first_descriptions, {MeshDim::data}, 4) +
                       reduced_elements(trained->first_descriptions, {MeshDim::data, MeshDim::tensor}, 4);
  const double experts = reduced_elements(trained->first_descriptions, {MeshDim::expert_data}, 2);
  double scattered = 0, gathered = 0;
  for (const auto& [group, traffic] : trained->first_sent) {
    if (group != "data" && group != "data+tensor") continue;
    scattered += bytes(trained->first_sent, group, Collective::reduce_scatter);
    gathered += bytes(trained->first_sent, group, Collective::all_gather);
  }
  EXPECT_DOUBLE_EQ(scattered, dense * element * 3 / 4);
  EXPECT_DOUBLE_EQ(gathered, dense * element * 3 / 4);
  EXPECT_DOUBLE_EQ(bytes(trained->first_sent, "expert_data", Collective::reduce_scatter), experts * element / 2);
  EXPECT_DOUBLE_EQ(bytes(trained->first_sent, "expert_data", Collective::all_gather), experts * element / 2);
  EXPECT_GT(dense, 0);
  EXPECT_GT(experts, 0);
}

TEST(Traffic, WithoutShardingGradientsAreAllReduced) {
  const auto trained = one_step({1, 1, 4, 1, 1, false});
  double reduced = 0;
  for (const auto& [group, traffic] : trained->first_sent)
    if (group != "world") reduced += bytes(trained->first_sent, group, Collective::all_reduce);
  const double elements = reduced_elements(trained->first_descriptions, {MeshDim::data}, 4) +
                          reduced_elements(trained->first_descriptions, {MeshDim::data, MeshDim::tensor}, 4) +
                          reduced_elements(trained->first_descriptions, {MeshDim::expert_data}, 4);
  EXPECT_DOUBLE_EQ(reduced, elements * element * 2 * 3 / 4);
}

TEST(Traffic, TensorParallelSendsActivationsAroundEachLayer) {
  const auto trained = one_step({1, 1, 1, 2, 2});
  // Forward: attention of 4 layers and the feed-forward part (a dense layer, or shared experts) of each gather once and
  // scatter once; the embedding scatters, the head gathers. Backward: the adjoint of each.
  const double layers = 4 * 2, whole = activation / 2; // (n-1)/n
  const double each_way = (layers + 1) * whole * micro_batches;
  const double experts = 8, moe_layers = 3, kv_heads_slice = 0;
  const double logits = moe_layers * static_cast<double>(micro_rows * length) * experts * element / 2 * micro_batches;
  EXPECT_DOUBLE_EQ(bytes(trained->first_sent, "tensor", Collective::reduce_scatter), 2 * each_way);
  EXPECT_DOUBLE_EQ(bytes(trained->first_sent, "tensor", Collective::all_gather),
                   2 * each_way + logits + kv_heads_slice);
}

TEST(Traffic, PipelineSendsEachMicroBatchsActivationsAndTheirGradient) {
  Network untied;
  untied.options = all_features(false);
  const auto trained = one_step({2}, untied);
  EXPECT_DOUBLE_EQ(bytes(trained->first_sent, "pipeline", Collective::send), activation * micro_batches);
  EXPECT_DOUBLE_EQ(bytes(trained->last_sent, "pipeline", Collective::send), activation * micro_batches);

  // Under tensor parallelism each rank sends its own rows; two chunks a rank: three of the four borders are crossed.
  const auto interleaved = one_step({2, 2, 1, 2, 1}, untied);
  EXPECT_DOUBLE_EQ(bytes(interleaved->first_sent, "pipeline", Collective::send), 3 * activation / 2 * micro_batches);
}

TEST(Traffic, ExpertParallelSendsRowsThereAndBackTwice) {
  const auto trained = one_step({1, 1, 2, 1, 2});
  const double sent = bytes(trained->first_sent, "expert", Collective::all_to_all);
  // At most every choice of every token of this rank goes to the other one: rows and weights there, rows back, and the
  // adjoints of both; and the counts of each call.
  const double tokens = static_cast<double>(micro_rows * length), choices = 2, moe_layers = 3,
               calls = micro_batches / 2;
  const double most = tokens * choices * (4 * width + 2) * element * moe_layers * calls + moe_layers * calls * 8 * 8;
  EXPECT_GT(sent, most / 4);
  EXPECT_LT(sent, most);
}

} // namespace
} // namespace conclave
