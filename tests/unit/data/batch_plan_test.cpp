// The plan: which samples a batch holds, for any number of ranks, and what a row looks like.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/batch_plan.hpp"
#include "data/samples.hpp"
#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

using testing::MemoryStore;
using Documents = std::vector<std::vector<std::int32_t>>;
using Row = std::vector<std::int64_t>;

/// Documents of the given lengths whose tokens count on from `first`: a token names its place.
Documents counting(std::int32_t first, const std::vector<int>& lengths) {
  Documents documents;
  for (const int length : lengths) {
    auto& document = documents.emplace_back();
    for (int i = 0; i < length; ++i) document.push_back(first++);
  }
  return documents;
}

std::shared_ptr<const TokenStore> two_domains() {
  std::vector<int> lengths;
  for (int i = 0; i < 120; ++i) lengths.push_back(2 + i * 17 % 39);
  return std::make_shared<MemoryStore>(
      std::vector<double>{0.7, 0.3}, std::vector<Documents>{counting(0, lengths), counting(100'000, lengths)}, 200'000);
}

std::shared_ptr<const BatchPlan> plan_of(std::shared_ptr<const TokenStore> store, const PlanSettings& settings) {
  auto plan = make_batch_plan(std::move(store), settings);
  EXPECT_TRUE(plan.ok()) << plan.error().render();
  return std::move(plan).value();
}

Row row_of(const std::vector<std::int64_t>& cells, const HostMicroBatch& micro, std::int64_t row) {
  return Row(cells.begin() + row * micro.length, cells.begin() + (row + 1) * micro.length);
}

/// First tokens of all rows of a batch over all ranks, sorted, and the shapes of rank 0's micro-steps.
std::multiset<std::int64_t> first_tokens(const std::shared_ptr<const TokenStore>& store, PlanSettings settings,
                                         int ranks, std::int64_t index) {
  std::multiset<std::int64_t> all;
  std::vector<std::int64_t> lengths;
  settings.data_ranks = ranks;
  for (settings.data_rank = 0; settings.data_rank < ranks; ++settings.data_rank) {
    const HostStep step = plan_of(store, settings)->build(index);
    std::vector<std::int64_t> mine;
    for (const HostMicroBatch& micro : step.micro_batches) {
      mine.push_back(micro.length);
      for (std::int64_t row = 0; row < micro.rows; ++row)
        all.insert(micro.tokens[static_cast<std::size_t>(row * micro.length)]);
    }
    if (settings.data_rank == 0) lengths = mine;
    EXPECT_EQ(mine, lengths) << "the padded length differs between ranks";
  }
  return all;
}

TEST(BatchPlan, AnyNumberOfRanksPartitionsTheSameSamples) {
  const auto store = two_domains();
  for (const bool bucket : {false, true}) {
    PlanSettings settings;
    settings.bucket = bucket;
    settings.max_length = 16;
    settings.bucket_step = 4;
    settings.global_batch = 16;
    settings.micro_batch = 2;
    settings.seed = 5;
    for (const std::int64_t index : {0, 1, 7, 1000}) {
      const auto whole = first_tokens(store, settings, 1, index);
      EXPECT_EQ(whole.size(), 16u);
      EXPECT_EQ(first_tokens(store, settings, 2, index), whole);
      EXPECT_EQ(first_tokens(store, settings, 4, index), whole);
      settings.micro_batch = 4;
      EXPECT_EQ(first_tokens(store, settings, 4, index), whole) << "the micro-batch changed the batch";
      settings.micro_batch = 2;
    }
  }
}

/// Every rank's samples, micro-step after micro-step and rank after rank: the global batch in its order.
std::vector<SampleId> planned_order(const std::shared_ptr<const TokenStore>& store, PlanSettings settings, int ranks,
                                    std::int64_t index) {
  settings.data_ranks = ranks;
  std::vector<StepPlan> plans;
  for (settings.data_rank = 0; settings.data_rank < ranks; ++settings.data_rank)
    plans.push_back(plan_of(store, settings)->plan(index));
  std::vector<SampleId> order;
  for (std::size_t m = 0; m < plans[0].micro_steps.size(); ++m)
    for (const StepPlan& plan : plans) {
      EXPECT_EQ(plan.micro_steps.size(), plans[0].micro_steps.size());
      const MicroStep& micro = plan.micro_steps[m];
      EXPECT_EQ(micro.length, plans[0].micro_steps[m].length);
      EXPECT_EQ(micro.padded, plans[0].micro_steps[m].padded);
      EXPECT_EQ(micro.rows, settings.micro_batch);
      EXPECT_EQ(plan.global_loss_tokens, plans[0].global_loss_tokens);
      order.insert(order.end(), micro.samples.begin(), micro.samples.end());
    }
  return order;
}

TEST(BatchPlan, TheRanksPlansTogetherAreTheBatchOfOneRank) {
  const auto store = two_domains();
  for (const bool bucket : {false, true})
    for (const Split split : {Split::train, Split::held_out})
      for (const std::int64_t index : {0, 3, 7}) {
        PlanSettings settings;
        settings.bucket = bucket;
        settings.split = split;
        settings.max_length = 16;
        settings.bucket_step = 4;
        settings.global_batch = 24;
        settings.micro_batch = 3;
        settings.seed = 5;
        const auto whole = planned_order(store, settings, 1, index);
        EXPECT_TRUE(whole.size() == 24u || split == Split::held_out) << whole.size();
        EXPECT_EQ(planned_order(store, settings, 2, index), whole);
        EXPECT_EQ(planned_order(store, settings, 8, index), whole);
      }
}

TEST(BatchPlan, BuildIsThePlanWithItsTokens) {
  const auto store = two_domains();
  PlanSettings settings;
  settings.bucket = true; // sample k is document k
  settings.max_length = 30;
  settings.global_batch = 16;
  settings.micro_batch = 4;
  settings.data_ranks = 2;
  settings.data_rank = 1;
  const auto plan = plan_of(store, settings);
  const StepPlan planned = plan->plan(11);
  const HostStep built = plan->build(11);
  EXPECT_EQ(built.batch_index, 11);
  EXPECT_EQ(built.global_sequences, 16);
  EXPECT_EQ(built.global_loss_tokens, planned.global_loss_tokens);
  EXPECT_EQ(built.domain_tokens, planned.domain_tokens);
  ASSERT_EQ(built.micro_batches.size(), planned.micro_steps.size());
  for (std::size_t m = 0; m < built.micro_batches.size(); ++m) {
    const HostMicroBatch& micro = built.micro_batches[m];
    ASSERT_EQ(planned.micro_steps[m].samples.size(), 4u);
    EXPECT_EQ(micro.length, planned.micro_steps[m].length);
    EXPECT_EQ(!micro.token_mask.empty(), planned.micro_steps[m].padded);
    for (std::int64_t row = 0; row < micro.rows; ++row) {
      const SampleId& id = planned.micro_steps[m].samples[static_cast<std::size_t>(row)];
      std::int32_t first = 0;
      store->copy(Split::train, id.domain, store->document_start(Split::train, id.domain, id.sample), 1, &first);
      EXPECT_EQ(micro.tokens[static_cast<std::size_t>(row * micro.length)], first);
      EXPECT_EQ(micro.domains[static_cast<std::size_t>(row)], static_cast<std::int64_t>(id.domain));
    }
  }
}

TEST(BatchPlan, AHeldOutPassGivesEverySampleOnceAndMasksWhatIsLeft) {
  // 11 documents of 9 tokens that all differ: a counted label names its place.
  const auto store = std::make_shared<MemoryStore>(std::vector<double>{1},
                                                   std::vector<Documents>{counting(1, std::vector<int>(11, 9))});
  for (const int mode : {0, 1, 2})
    for (const std::int64_t batch : {1, 4, 11, 32})
      for (const int ranks : {1, 2}) {
        PlanSettings settings;
        settings.split = Split::held_out;
        settings.bucket = mode == 2;
        settings.document_attention = mode == 1;
        settings.max_length = 8;
        settings.micro_batch = batch % 4 == 0 ? 2 : batch;
        settings.global_batch = batch;
        if (batch % (settings.micro_batch * ranks) != 0) continue;
        settings.data_ranks = ranks;
        const std::int64_t samples = DomainSamples(*store, settings, 0, settings.max_length).count();
        EXPECT_EQ(samples, mode == 2 ? 11 : 12);
        std::map<std::int64_t, int> labels;
        std::int64_t promised = 0, sequences = 0, batches = 0;
        for (settings.data_rank = 0; settings.data_rank < ranks; ++settings.data_rank) {
          const auto plan = plan_of(store, settings);
          batches = plan->batches();
          EXPECT_EQ(batches, (samples + batch - 1) / batch);
          for (std::int64_t index = 0; index < batches; ++index) {
            const HostStep step = plan->build(index);
            EXPECT_FALSE(step.micro_batches.empty());
            if (settings.data_rank == 0) promised += step.global_loss_tokens;
            if (settings.data_rank == 0) sequences += step.global_sequences;
            for (const HostMicroBatch& micro : step.micro_batches) {
              EXPECT_EQ(micro.rows, settings.micro_batch) << "the shape stays";
              EXPECT_EQ(micro.domains.size(), static_cast<std::size_t>(micro.rows));
              for (std::size_t cell = 0; cell < micro.tokens.size(); ++cell) {
                if (micro.loss_mask[cell] != 0) {
                  ++labels[micro.labels[cell]];
                  EXPECT_TRUE(micro.token_mask.empty() || micro.token_mask[cell] != 0);
                } else if (!micro.token_mask.empty() && micro.token_mask[cell] == 0) {
                  EXPECT_EQ(micro.tokens[cell] + micro.labels[cell], 0) << "an empty row is padding";
                }
              }
            }
          }
          EXPECT_TRUE(plan->build(batches).micro_batches.empty()) << "there is nothing after the pass";
          EXPECT_EQ(plan->build(batches + 5).global_loss_tokens, 0);
        }
        EXPECT_EQ(sequences, samples);
        std::int64_t counted = 0;
        for (const auto& [label, times] : labels) {
          EXPECT_EQ(times, 1) << "token " << label << " of mode " << mode << ", batch " << batch;
          counted += times;
        }
        EXPECT_EQ(counted, promised);
        EXPECT_EQ(counted, mode == 2 ? 11 * 8 : mode == 1 ? 96 - 10 : 96);
      }
}

TEST(BatchPlan, AHeldOutPassOverDomainsOfUnlikeSizesGivesEachSampleOnce) {
  const auto store = two_domains(); // shares 7 to 3, equally many samples: the smaller share lasts longer
  PlanSettings settings;
  settings.split = Split::held_out;
  settings.max_length = 16;
  settings.global_batch = 10;
  settings.micro_batch = 5;
  const auto plan = plan_of(store, settings);
  std::set<SampleId> seen;
  std::size_t given = 0;
  for (std::int64_t index = 0; index < plan->batches(); ++index)
    for (const MicroStep& micro : plan->plan(index).micro_steps) {
      given += micro.samples.size();
      seen.insert(micro.samples.begin(), micro.samples.end());
    }
  EXPECT_EQ(given, seen.size());
  EXPECT_EQ(static_cast<std::int64_t>(seen.size()),
            DomainSamples(*store, settings, 0, settings.max_length).count() +
                DomainSamples(*store, settings, 1, settings.max_length).count());
}

TEST(BatchPlan, EverySampleOnceInEachEpoch) {
  const auto store = two_domains();
  for (const bool bucket : {false, true}) {
    PlanSettings settings;
    settings.bucket = bucket;
    settings.max_length = 16;
    settings.global_batch = settings.micro_batch = 10;
    const auto plan = plan_of(store, settings);
    for (std::size_t domain = 0; domain < 2; ++domain) {
      const std::int64_t samples = DomainSamples(*store, settings, domain, settings.max_length).count();
      std::map<std::int64_t, int> seen;
      std::vector<std::int64_t> order;
      std::int64_t index = 0;
      while (static_cast<std::int64_t>(order.size()) < 3 * samples) {
        const HostStep step = plan->build(index++);
        for (const HostMicroBatch& micro : step.micro_batches)
          for (std::int64_t row = 0; row < micro.rows; ++row)
            if (micro.domains[static_cast<std::size_t>(row)] == static_cast<std::int64_t>(domain))
              order.push_back(micro.tokens[static_cast<std::size_t>(row * micro.length)]);
      }
      // Batches shuffle positions, so an epoch's end may share a batch with the next one's beginning: whole batches only.
      for (const std::int64_t token : order) ++seen[token];
      for (const auto& [token, times] : seen) EXPECT_NEAR(times, 3, 1) << token;
      EXPECT_EQ(static_cast<std::int64_t>(seen.size()), samples);
    }
  }
}

TEST(BatchPlan, AnEpochIsExactWhenBatchesDivideIt) {
  // 64 samples of 8 tokens, batches of 16: four batches are an epoch, and the next epoch has another order.
  const auto store =
      std::make_shared<MemoryStore>(std::vector<double>{1}, std::vector<Documents>{counting(0, {64 * 8 + 1})});
  PlanSettings settings;
  settings.max_length = 8;
  settings.global_batch = settings.micro_batch = 16;
  const auto plan = plan_of(store, settings);
  EXPECT_EQ(DomainSamples(*store, settings, 0, settings.max_length).count(), 64);
  std::vector<std::vector<std::int64_t>> epochs;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    auto& order = epochs.emplace_back();
    for (std::int64_t b = 0; b < 4; ++b) {
      const HostStep step = plan->build(4 * epoch + b);
      for (std::int64_t row = 0; row < 16; ++row)
        order.push_back(step.micro_batches[0].tokens[static_cast<std::size_t>(8 * row)]);
    }
    EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 64u) << "epoch " << epoch;
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(BatchPlan, SharesAreExactAndReported) {
  const auto store = two_domains();
  PlanSettings settings;
  settings.max_length = 16;
  settings.global_batch = settings.micro_batch = 10;
  const auto plan = plan_of(store, settings);
  for (std::int64_t index = 0; index < 20; ++index) {
    const HostStep step = plan->build(index);
    EXPECT_EQ(step.domain_sequences, (Row{7, 3}));
    EXPECT_EQ(step.domain_tokens, (Row{7 * 16, 3 * 16}));
    EXPECT_EQ(std::count(step.micro_batches[0].domains.begin(), step.micro_batches[0].domains.end(), 0), 7);
  }
}

TEST(BatchPlan, PackedRowsAreConsecutiveWindows) {
  const auto store =
      std::make_shared<MemoryStore>(std::vector<double>{1}, std::vector<Documents>{counting(0, {5, 4, 8, 3})});
  PlanSettings settings;
  settings.max_length = 6;
  settings.global_batch = settings.micro_batch = 3; // (20 - 1) / 6
  const HostStep step = plan_of(store, settings)->build(0);
  ASSERT_EQ(step.micro_batches.size(), 1u);
  const HostMicroBatch& micro = step.micro_batches[0];
  EXPECT_EQ(step.global_loss_tokens, 18);
  EXPECT_TRUE(micro.token_mask.empty());
  EXPECT_TRUE(micro.segment_ids.empty());
  std::set<std::int64_t> starts;
  for (std::int64_t row = 0; row < 3; ++row) {
    const Row tokens = row_of(micro.tokens, micro, row), labels = row_of(micro.labels, micro, row);
    starts.insert(tokens[0]);
    for (std::int64_t t = 0; t < 6; ++t) {
      EXPECT_EQ(tokens[static_cast<std::size_t>(t)], tokens[0] + t);
      EXPECT_EQ(labels[static_cast<std::size_t>(t)], tokens[0] + t + 1);
      EXPECT_EQ(micro.position_ids[static_cast<std::size_t>(6 * row + t)], t);
      EXPECT_EQ(micro.loss_mask[static_cast<std::size_t>(6 * row + t)], 1);
    }
  }
  EXPECT_EQ(starts, (std::set<std::int64_t>{0, 6, 12}));
}

TEST(BatchPlan, DocumentAttentionRestartsAtEachDocument) {
  const auto store =
      std::make_shared<MemoryStore>(std::vector<double>{1}, std::vector<Documents>{counting(0, {5, 4, 8, 2})});
  PlanSettings settings;
  settings.max_length = 9;
  settings.global_batch = settings.micro_batch = 2; // windows [0, 9] and [9, 18]
  settings.document_attention = true;
  const HostStep step = plan_of(store, settings)->build(0);
  const HostMicroBatch& micro = step.micro_batches[0];
  std::int64_t counted = 0;
  for (const std::uint8_t mask : micro.loss_mask) counted += mask;
  EXPECT_EQ(step.global_loss_tokens, counted);
  for (std::int64_t row = 0; row < 2; ++row) {
    const Row tokens = row_of(micro.tokens, micro, row), labels = row_of(micro.labels, micro, row);
    const Row positions = row_of(micro.position_ids, micro, row);
    const std::vector<std::int32_t> segments(micro.segment_ids.begin() + 9 * row,
                                             micro.segment_ids.begin() + 9 * (row + 1));
    const std::vector<std::uint8_t> mask(micro.loss_mask.begin() + 9 * row, micro.loss_mask.begin() + 9 * (row + 1));
    if (tokens[0] == 0) { // documents [0, 5) and [5, 9); the last label is the first token of the third
      EXPECT_EQ(positions, (Row{0, 1, 2, 3, 4, 0, 1, 2, 3}));
      EXPECT_EQ(segments, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 1, 1, 1, 1}));
      EXPECT_EQ(mask, (std::vector<std::uint8_t>{1, 1, 1, 1, 0, 1, 1, 1, 0}));
      EXPECT_EQ(labels, (Row{1, 2, 3, 4, 0, 6, 7, 8, 0}));
    } else { // documents [9, 17) and [17, 19)
      EXPECT_EQ(tokens[0], 9);
      EXPECT_EQ(positions, (Row{0, 1, 2, 3, 4, 5, 6, 7, 0}));
      EXPECT_EQ(segments, (std::vector<std::int32_t>{0, 0, 0, 0, 0, 0, 0, 0, 1}));
      EXPECT_EQ(mask, (std::vector<std::uint8_t>{1, 1, 1, 1, 1, 1, 1, 0, 1}));
    }
  }
}

TEST(BatchPlan, LossTokensOfTheWholeBatchOnEveryRank) {
  const auto store = two_domains();
  for (const int mode : {0, 1, 2}) {
    PlanSettings settings;
    settings.bucket = mode == 2;
    settings.document_attention = mode == 1;
    settings.max_length = 24;
    settings.bucket_step = 8;
    settings.global_batch = 16;
    settings.micro_batch = 2;
    settings.data_ranks = 4;
    for (std::int64_t index = 0; index < 10; ++index) {
      std::int64_t counted = 0, promised = 0;
      for (settings.data_rank = 0; settings.data_rank < 4; ++settings.data_rank) {
        const HostStep step = plan_of(store, settings)->build(index);
        promised = step.global_loss_tokens;
        for (const HostMicroBatch& micro : step.micro_batches)
          for (const std::uint8_t mask : micro.loss_mask) counted += mask;
      }
      EXPECT_EQ(counted, promised) << "mode " << mode;
    }
  }
}

TEST(BatchPlan, BucketsPadToTheLadderAndMaskPadding) {
  const auto store = two_domains();
  PlanSettings settings;
  settings.bucket = true;
  settings.max_length = 30; // documents have 2 to 40 tokens
  settings.bucket_step = 8;
  settings.global_batch = 24;
  settings.micro_batch = 4;
  const HostStep step = plan_of(store, settings)->build(3);
  ASSERT_EQ(step.micro_batches.size(), 6u);
  std::int64_t previous = settings.max_length;
  for (const HostMicroBatch& micro : step.micro_batches) {
    EXPECT_TRUE(micro.length % 8 == 0 || micro.length == 30) << micro.length;
    EXPECT_LE(micro.length, previous) << "the longest come first";
    previous = micro.length;
    for (std::int64_t row = 0; row < micro.rows; ++row) {
      std::int64_t real = 0;
      for (std::int64_t t = 0; t < micro.length; ++t) {
        const auto cell = static_cast<std::size_t>(row * micro.length + t);
        const bool token = micro.token_mask.empty() || micro.token_mask[cell] != 0;
        if (token) {
          EXPECT_EQ(real++, t) << "padding is on the right";
          EXPECT_EQ(micro.labels[cell], micro.tokens[cell] + 1);
          EXPECT_EQ(micro.loss_mask[cell], 1);
        } else {
          EXPECT_EQ(micro.loss_mask[cell] + micro.tokens[cell] + micro.labels[cell], 0);
        }
      }
      EXPECT_GE(real, 1);
    }
  }
}

TEST(BatchPlan, DigestNamesTheOrderAndNothingElse) {
  const auto store = two_domains();
  PlanSettings settings;
  settings.max_length = 16;
  settings.global_batch = 16;
  settings.micro_batch = 2;
  const std::string digest = plan_of(store, settings)->digest();
  PlanSettings other = settings;
  other.micro_batch = 4;
  other.data_ranks = 2;
  other.data_rank = 1;
  EXPECT_EQ(plan_of(store, other)->digest(), digest);
  for (const auto change : {+[](PlanSettings& s) { s.seed = 1; }, +[](PlanSettings& s) { s.max_length = 17; },
                            +[](PlanSettings& s) { s.global_batch = 18; }, +[](PlanSettings& s) { s.bucket = true; },
                            +[](PlanSettings& s) { s.only_domain = 0; }}) {
    other = settings;
    change(other);
    EXPECT_NE(plan_of(store, other)->digest(), digest);
  }
}

TEST(BatchPlan, OneDomainOnly) {
  PlanSettings settings;
  settings.max_length = 16;
  settings.global_batch = settings.micro_batch = 4;
  settings.only_domain = 1;
  const auto plan = plan_of(two_domains(), settings);
  EXPECT_EQ(plan->build(0).domain_sequences, (Row{0, 4}));
  EXPECT_EQ(plan->build(0).micro_batches[0].domains, (Row{1, 1, 1, 1}));
  const StepPlan planned = plan->plan(0);
  for (const SampleId& id : planned.micro_steps.at(0).samples) EXPECT_EQ(id.domain, 1u);
}

TEST(BatchPlan, TooSmallACorpusShowsTheArithmetic) {
  const auto store = std::make_shared<MemoryStore>(std::vector<double>{0.5, 0.5},
                                                   std::vector<Documents>{counting(0, {33}), counting(100, {17})});
  PlanSettings settings;
  settings.max_length = 8;
  settings.global_batch = settings.micro_batch = 8;
  auto plan = make_batch_plan(store, settings);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code, Code::invalid_argument);
  EXPECT_NE(plan.error().what.find("6 sequences of up to 8 tokens: domain0 4 (33 tokens), domain1 2 (17 tokens)"),
            std::string::npos)
      << plan.error().what;

  settings.global_batch = settings.micro_batch = 6;
  plan = make_batch_plan(store, settings);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().what.find("'domain1' is smaller than its part of one batch: it has 2 sequences"),
            std::string::npos)
      << plan.error().what;
  settings.split = Split::held_out; // its last batch need not be full
  EXPECT_TRUE(make_batch_plan(store, settings).ok());

  settings.split = Split::train;
  settings.max_length = 17;
  plan = make_batch_plan(store, settings);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().what.find("17 tokens and a sample takes 17 + 1"), std::string::npos) << plan.error().what;

  settings.max_length = 8;
  settings.global_batch = 6;
  settings.micro_batch = 2;
  settings.data_ranks = 2;
  plan = make_batch_plan(store, settings);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().what.find("2 x 2 = 4"), std::string::npos) << plan.error().what;
}

} // namespace
} // namespace conclave::data
