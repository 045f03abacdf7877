// Times of operators, collectives, pipelines and steps against arithmetic by hand.

#include <gtest/gtest.h>

#include <array>

#include "launch/ranks.hpp"
#include "plan/operator_time.hpp"
#include "plan/pipeline_time.hpp"
#include "plan/step_time.hpp"

namespace conclave::plan {
namespace {

using Kind = OperatorWork::Kind;

/// Round figures: 100 TFLOP/s, 1 TB/s, 100 GB/s within nodes of 4 GPUs, 10 GB/s between them.
Machine round_machine() {
  Machine machine;
  machine.name = "round";
  machine.gpus_per_node = 4;
  machine.memory_bandwidth = {1e12};
  machine.kernel = {1e-6};
  machine.host_operator = {1e-5};
  machine.host_wait = {1e-4};
  machine.within_node = {{1e11}, {1e-6}};
  machine.between_nodes = {{1e10}, {1e-5}};
  machine.bf16.peak = {2e14};
  machine.bf16.product = RateCurve::flat({1e14});
  machine.bf16.grouped_product = RateCurve::flat({5e13});
  machine.bf16.attention = RateCurve::flat({8e13});
  machine.bf16.attention_backward = RateCurve::flat({4e13});
  return machine;
}

TEST(OperatorTime, IsTheSlowerOfOperationsAndBytes) {
  const Machine machine = round_machine();
  const auto time = [&](Kind kind, double flops, double bytes) {
    return seconds_of({kind, flops, bytes, 7}, machine, machine.bf16);
  };
  EXPECT_DOUBLE_EQ(time(Kind::product, 1e12, 1e6), 1e-2);
  EXPECT_DOUBLE_EQ(time(Kind::product, 1e9, 1e9), 1e-3 + 1e-6);
  EXPECT_DOUBLE_EQ(time(Kind::grouped_product, 1e12, 0), 2e-2);
  EXPECT_DOUBLE_EQ(time(Kind::attention, 8e12, 0), 1e-1);
  EXPECT_DOUBLE_EQ(time(Kind::attention_backward, 8e12, 0), 2e-1);
  EXPECT_DOUBLE_EQ(time(Kind::memory, 0, 0), 1e-6);
}

GroupPlace place(const ParallelSizes& sizes, std::int64_t gpus, MeshDim dim) {
  return place_group(*resolve_mesh(sizes, gpus, 0), std::array{dim}, round_machine());
}

TEST(GroupPlace, FollowsTheOrderOfRanks) {
  // 16 GPUs on 4 nodes: tensor 2 innermost, then data 4, then pipeline 2.
  const ParallelSizes sizes{2, 2, 2, 4};
  const GroupPlace tensor = place(sizes, 16, MeshDim::tensor), data = place(sizes, 16, MeshDim::data),
                   pipeline = place(sizes, 16, MeshDim::pipeline), expert = place(sizes, 16, MeshDim::expert);
  EXPECT_EQ(tensor.ranks, 2);
  EXPECT_FALSE(tensor.crosses_nodes());
  EXPECT_EQ(data.ranks, 4);
  EXPECT_EQ(data.nodes, 2);
  EXPECT_EQ(data.in_node, 2);
  EXPECT_EQ(pipeline.nodes, 2);
  EXPECT_EQ(pipeline.in_node, 1);
  EXPECT_FALSE(expert.crosses_nodes()) << "neighbours hold different experts";
}

TEST(CollectiveTime, WithinANode) {
  const Machine machine = round_machine();
  const GroupPlace four{4, 1, 4};
  EXPECT_DOUBLE_EQ(seconds_of(Collective::all_gather, 1e9, four, machine), 3e-6 + .75e9 / 1e11);
  EXPECT_DOUBLE_EQ(seconds_of(Collective::reduce_scatter, 1e9, four, machine), 3e-6 + .75e9 / 1e11);
  EXPECT_DOUBLE_EQ(seconds_of(Collective::all_reduce, 1e9, four, machine), 6e-6 + 1.5e9 / 1e11);
  EXPECT_DOUBLE_EQ(seconds_of(Collective::all_to_all, 1e9, four, machine), 3e-6 + .75e9 / 1e11);
  EXPECT_EQ(seconds_of(Collective::all_reduce, 1e9, {}, machine), 0);
}

TEST(CollectiveTime, OverNodesByTheLinksOfAllMembers) {
  const Machine machine = round_machine();
  const GroupPlace spread{4, 4, 1}, packed{8, 2, 4};
  EXPECT_DOUBLE_EQ(seconds_of(Collective::all_gather, 1e9, spread, machine), 3e-5 + .75e9 / 1e10);
  // Four links of 10 GB/s are slower than one of 100.
  EXPECT_DOUBLE_EQ(seconds_of(Collective::all_gather, 1e9, packed, machine), 3e-6 + 1e-5 + .875e9 / 4e10);
  // Half of what is exchanged goes to the other node, each GPU's part by its own link.
  EXPECT_DOUBLE_EQ(seconds_of(Collective::all_to_all, 8e8, packed, machine), 3e-6 + 1e-5 + 4e8 / 1e10);
  const SentBytes sent = sent_by(Collective::all_to_all, 8e8, packed);
  EXPECT_DOUBLE_EQ(sent.within_node, 3e8);
  EXPECT_DOUBLE_EQ(sent.between_nodes, 4e8);
}

TEST(PipelineTime, OneForwardOneBackward) {
  // 2 ranks, 3 micro-batches, forward 1, backward 2: F0 F1 | F0 B0 ...; the last rank is never idle once it has begun.
  const std::vector<ChunkSeconds> chunks(2, {1, 2, 0, 0});
  const auto played = play_pipeline({2, 1, 3}, chunks);
  ASSERT_TRUE(played.ok());
  EXPECT_DOUBLE_EQ((*played)[1].end, 1 + 3 * 3);
  EXPECT_DOUBLE_EQ((*played)[0].end, 1 + 3 * 3 + 2); // (m + p - 1) of both passes
  EXPECT_DOUBLE_EQ((*played)[0].busy, 9);
  EXPECT_DOUBLE_EQ((*played)[0].last_pass, 2);
}

TEST(PipelineTime, MessagesDelayWhoWaitsForThem) {
  std::vector<ChunkSeconds> chunks(2, {1, 2, .25, .5});
  const auto played = play_pipeline({2, 1, 1}, chunks);
  ASSERT_TRUE(played.ok());
  EXPECT_DOUBLE_EQ((*played)[1].end, 1 + .25 + 1 + 2);
  EXPECT_DOUBLE_EQ((*played)[0].end, 1 + .25 + 1 + 2 + .5 + 2);
}

TEST(PipelineTime, InterleavingShrinksTheBubbleByTheChunks) {
  const int p = 4, m = 8;
  const auto plain = play_pipeline({p, 1, m}, std::vector<ChunkSeconds>(4, {2, 4, 0, 0}));
  const auto interleaved = play_pipeline({p, 2, m}, std::vector<ChunkSeconds>(8, {1, 2, 0, 0}));
  ASSERT_TRUE(plain.ok() && interleaved.ok());
  EXPECT_DOUBLE_EQ((*plain)[0].end, (m + p - 1) * 6.0);
  EXPECT_DOUBLE_EQ((*interleaved)[0].end, m * 6.0 + (p - 1) * 3.0);
}

TEST(PipelineTime, ManyMicroBatchesAreNotPlayedOneByOne) {
  const std::vector<ChunkSeconds> chunks(4, {1, 2, 0, 0});
  const auto all = play_pipeline({4, 1, 40}, chunks), many = play_pipeline({4, 1, 400'000'040}, chunks);
  ASSERT_TRUE(all.ok() && many.ok());
  for (std::size_t rank = 0; rank < 4; ++rank) EXPECT_NEAR((*many)[rank].end - (*all)[rank].end, 4e8 * 3, 1e-3) << rank;
}

TEST(PipelineTime, ManyAreAsLongAsAllOfThem) {
  const std::vector<ChunkSeconds> chunks{{1, 2, .1, .1}, {1.5, 2.5, .1, .1}};
  const auto end = [&](int micro_batches) { return (*play_pipeline({2, 1, micro_batches}, chunks))[0].end; };
  // Up to 20 are played, more extrapolated: both follow one line.
  EXPECT_NEAR(end(30) - end(20), end(20) - end(10), 1e-9);
}

TEST(PipelineTime, WhatDoesNotInterleaveIsRefused) {
  EXPECT_FALSE(play_pipeline({2, 2, 5}, std::vector<ChunkSeconds>(4)).ok());
  EXPECT_FALSE(play_pipeline({2, 2, 1001}, std::vector<ChunkSeconds>(4)).ok());
}

/// One rank: a product of 1 s, an attention of .5 s, a copy of .1 s, forward; the same twice, backward.
StepWork one_rank() {
  StepWork work;
  work.shape.micro_batches = 2;
  ChunkWork chunk;
  chunk.stage.forward.operators = {
      {Kind::product, 1e14, 0, 1}, {Kind::attention, 4e13, 0, 1}, {Kind::memory, 0, 1e11, 1}};
  chunk.stage.backward.operators = {{Kind::product, 1e14, 0, 2}, {Kind::attention, 4e13, 0, 2}};
  work.ranks = {{{chunk}, {}, 2e11}};
  work.graphs = true;
  return work;
}

TEST(StepTime, PartsAddUp) {
  const auto time = step_time(one_rank(), round_machine());
  ASSERT_TRUE(time.ok());
  EXPECT_DOUBLE_EQ((*time)[StepPart::products], 6);
  EXPECT_DOUBLE_EQ((*time)[StepPart::attention], 3);
  EXPECT_NEAR((*time)[StepPart::memory], .2, 1e-5);
  EXPECT_DOUBLE_EQ((*time)[StepPart::update], .2);
  EXPECT_EQ((*time)[StepPart::pipeline_wait], 0);
  EXPECT_NEAR(time->seconds, 9.4, 1e-5);
  EXPECT_EQ(time->bound, "compute");
}

TEST(StepTime, TheHostIsWaitedForWhereItIsSlower) {
  StepWork work = one_rank();
  work.ranks[0].update_bytes = 0;
  for (auto* pass : {&work.ranks[0].chunks[0].stage.forward, &work.ranks[0].chunks[0].stage.backward})
    pass->operators = {{Kind::memory, 0, 1e6, 100}}; // 100 of 2 us each, and of 10 us for the host
  work.ranks[0].chunks[0].stage.forward.host_waits = 3;
  EXPECT_NEAR((*step_time(work, round_machine()))[StepPart::host], 2 * 3e-4, 1e-9) << "a graph is enqueued at once";
  work.graphs = false;
  const auto time = step_time(work, round_machine());
  EXPECT_NEAR((*time)[StepPart::host], 2 * (2 * 8e-4 + 3e-4), 1e-9);
  EXPECT_EQ(time->bound, "host");
}

TEST(StepTime, SumsHideBehindTheLastBackwardPass) {
  StepWork work = one_rank();
  work.mesh = *resolve_mesh({1, 1, 1, 8}, 8, 0);
  work.ranks[0].sums = {{{MeshDim::data}, 2e11, 1e11}};
  // Over two nodes of four: 175 GB in and 87.5 GB out, at 40 GB/s.
  const double sums = 2e11 * .875 / 4e10 + 1.3e-5, gathers = 1e11 * .875 / 4e10 + 1.3e-5, backward = 3;
  const auto overlapping = step_time(work, round_machine());
  ASSERT_TRUE(overlapping.ok());
  EXPECT_NEAR((*overlapping)[StepPart::gradient_sums], sums - backward, 1e-9);
  EXPECT_NEAR((*overlapping)[StepPart::value_gathers], gathers, 1e-9);
  EXPECT_DOUBLE_EQ(overlapping->sent.between_nodes, 3e11 * .875 / 4);
  work.sums_overlap = false;
  EXPECT_NEAR((*step_time(work, round_machine()))[StepPart::gradient_sums], sums, 1e-9);
  work.ranks[0].sums[0].gathered_bytes = 0; // whole sums everywhere
  const auto whole = step_time(work, round_machine());
  EXPECT_NEAR((*whole)[StepPart::gradient_sums], 2 * sums, 1e-9);
  EXPECT_EQ((*whole)[StepPart::value_gathers], 0);
  EXPECT_EQ(whole->bound, "compute");
}

TEST(StepTime, ExchangesCountForTheirRanks) {
  StepWork work = one_rank();
  work.mesh = *resolve_mesh({2, 1, 8, 4}, 8, 0);
  work.ranks[0].chunks[0].stage.forward.exchanges = {{Collective::all_gather, MeshDim::tensor, 1e11, 2},
                                                     {Collective::all_to_all, MeshDim::expert, 8e11, 1}};
  const auto time = step_time(work, round_machine());
  ASSERT_TRUE(time.ok());
  EXPECT_NEAR((*time)[StepPart::tensor_exchange], 2 * 2 * .5, 1e-4);
  EXPECT_NEAR((*time)[StepPart::expert_exchange], 2 * 40, 1e-4);
  EXPECT_EQ(time->bound, "links between nodes");
  EXPECT_DOUBLE_EQ(time->sent.within_node, 2 * (2 * .5e11 + 3e11));
}

TEST(StepTime, SaysWhatTheMachineFileLacks) {
  StepWork work = one_rank();
  work.compute = Compute::fp16;
  const auto no_type = step_time(work, round_machine());
  ASSERT_FALSE(no_type.ok());
  EXPECT_EQ(no_type.error().code, Code::unsupported);
  EXPECT_EQ(no_type.error().what, "the machine file has no rates for fp16");
  work.compute = Compute::bf16;
  work.mesh = *resolve_mesh({1, 1, 1, 8}, 8, 0);
  Machine node = round_machine();
  node.between_nodes = {};
  EXPECT_EQ(step_time(work, node).error().what,
            "8 GPUs are more than one node's 4, and the machine file has no between_nodes");
}

} // namespace
} // namespace conclave::plan
