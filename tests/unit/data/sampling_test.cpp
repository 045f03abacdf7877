// What a run draws, over stages, ranks, packings and restarts: shares, passes, and that all of it is a function of the index.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "conclave/random.hpp"
#include "data/batch_plan.hpp"
#include "io/digest.hpp"
#include "unit/data/fakes.hpp"

namespace conclave::data {
namespace {

using testing::MemoryStore;
using testing::TemporaryFolder;

constexpr std::int32_t end_token = 999'999, prefix = 999'001, suffix = 999'002, middle = 999'003;

/// Three domains of documents of 1 to 31 tokens and an end token; a token names its place.
std::shared_ptr<const TokenStore> three_domains() {
  const RandomStream random(8, "documents");
  std::vector<std::vector<std::vector<std::int32_t>>> domains(3);
  std::int32_t token = 1;
  std::uint64_t draw = 0;
  for (std::size_t d = 0; d < domains.size(); ++d)
    for (std::size_t i = 0; i < 150 * (d + 1); ++i) {
      auto& document = domains[d].emplace_back();
      // Lengths that depend on the domain: buckets by length must not change the shares.
      const auto length = 1 + random.below(draw++, d == 0 ? 6 : 31);
      for (std::uint64_t t = 0; t < length; ++t) document.push_back(token++);
      document.push_back(end_token);
    }
  return std::make_shared<MemoryStore>(std::vector<double>{0.5, 0.3, 0.2}, domains, 1'000'000, end_token);
}

enum class Mode { window, bucket, pack };

struct Case {
  Mode mode = Mode::window;
  bool documents = false, curriculum = false, rearranged = false;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Mode mode : {Mode::window, Mode::bucket, Mode::pack})
    for (const bool documents : {false, true})
      for (const bool curriculum : {false, true})
        for (const bool rearranged : {false, true})
          if (mode != Mode::bucket || !documents) cases.push_back({mode, documents, curriculum, rearranged});
  return cases;
}

class Sampling : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& c = GetParam();
    settings_.bucket = c.mode == Mode::bucket;
    settings_.document_attention = c.documents;
    settings_.max_length = 32;
    settings_.bucket_step = 4;
    settings_.global_batch = 16;
    settings_.micro_batch = 2;
    settings_.seed = 5;
    if (c.mode == Mode::pack) {
      PackTable::Request request;
      request.length = 32;
      request.cache = folder_.path();
      auto table = PackTable::make(*store_, request);
      ASSERT_TRUE(table.ok()) << table.error().render();
      settings_.packs = std::move(table).value();
    }
    const std::int64_t shorter = c.mode == Mode::pack ? 0 : 8;
    if (c.curriculum)
      settings_.curriculum = {
          {0, {1, 0, 1}, shorter}, {7, {}, c.mode == Mode::pack ? 0 : 16}, {20, {0.1, 0.2, 0.7}, 0}};
    if (c.rearranged) settings_.fill_in_middle = {0.5, 0.5, prefix, suffix, middle, {true, false, true}};
  }

  [[nodiscard]] std::shared_ptr<const BatchPlan> plan(int rank = 0, int ranks = 1) const {
    PlanSettings settings = settings_;
    settings.data_rank = rank;
    settings.data_ranks = ranks;
    auto made = make_batch_plan(store_, settings);
    EXPECT_TRUE(made.ok()) << made.error().render();
    return std::move(made).value();
  }

  /// Everything that the ranks build of a batch, row after row in the batch's order, without padding behind the rows.
  [[nodiscard]] static std::string digest_of(const std::vector<std::shared_ptr<const BatchPlan>>& ranks,
                                             std::int64_t index) {
    std::vector<HostStep> steps;
    for (const auto& plan : ranks) steps.push_back(plan->build(index));
    Digest digest;
    for (std::size_t m = 0; m < steps[0].micro_batches.size(); ++m)
      for (const HostStep& step : steps) {
        const HostMicroBatch& micro = step.micro_batches[m];
        for (std::int64_t row = 0; row < micro.rows; ++row) {
          digest.number(micro.domains[static_cast<std::size_t>(row)]);
          for (std::int64_t t = 0; t < micro.length; ++t) {
            const auto at = static_cast<std::size_t>(row * micro.length + t);
            if (!micro.token_mask.empty() && micro.token_mask[at] == 0) break;
            digest.number(micro.tokens[at]).number(micro.labels[at]).number(micro.position_ids[at]);
            digest.number(static_cast<int>(micro.loss_mask[at]));
            if (!micro.segment_ids.empty()) digest.number(static_cast<int>(micro.segment_ids[at]));
          }
        }
      }
    return digest.hex();
  }

  TemporaryFolder folder_;
  std::shared_ptr<const TokenStore> store_ = three_domains();
  PlanSettings settings_;
};

TEST_P(Sampling, TheSameBatchForAnyNumberOfRanksAndAfterAnyRestart) {
  std::map<int, std::vector<std::shared_ptr<const BatchPlan>>> ranks;
  for (const int count : {1, 2, 4, 8})
    for (int rank = 0; rank < count; ++rank) ranks[count].push_back(plan(rank, count));
  std::vector<std::string> straight;
  for (std::int64_t index = 0; index < 60; ++index) straight.push_back(digest_of(ranks[1], index));
  EXPECT_EQ(std::set<std::string>(straight.begin(), straight.end()).size(), straight.size());
  const RandomStream random(6, "restarts");
  for (std::uint64_t restart = 0; restart < 12; ++restart) {
    // A new process knows the settings and the index, and may have other ranks.
    const auto index = static_cast<std::int64_t>(random.below(2 * restart, 60));
    const int count = 1 << random.below(2 * restart + 1, 4);
    std::vector<std::shared_ptr<const BatchPlan>> fresh;
    for (int rank = 0; rank < count; ++rank) fresh.push_back(plan(rank, count));
    EXPECT_EQ(digest_of(fresh, index), straight[static_cast<std::size_t>(index)]) << "batch " << index;
    EXPECT_EQ(digest_of(ranks[8], index), straight[static_cast<std::size_t>(index)]) << "batch " << index;
    EXPECT_EQ(fresh[0]->digest(), ranks[1][0]->digest());
  }
}

TEST_P(Sampling, RowsAreWhatTheyPromise) {
  const auto plan = this->plan();
  for (std::int64_t index = 0; index < 40; ++index) {
    const HostStep step = plan->build(index);
    std::int64_t labels = 0, inputs = 0, places = 0;
    for (const HostMicroBatch& micro : step.micro_batches) places += micro.rows * micro.length;
    EXPECT_EQ(places, step.global_places);
    for (const HostMicroBatch& micro : step.micro_batches)
      for (std::int64_t row = 0; row < micro.rows; ++row) {
        bool padding = false;
        for (std::int64_t t = 0; t < micro.length; ++t) {
          const auto at = static_cast<std::size_t>(row * micro.length + t);
          const bool token = micro.token_mask.empty() || micro.token_mask[at] != 0;
          inputs += token;
          labels += micro.loss_mask[at];
          ASSERT_TRUE(!padding || !token) << "padding is on the right";
          padding = !token;
          if (!token) {
            ASSERT_EQ(micro.tokens[at] + micro.labels[at] + micro.loss_mask[at], 0);
            continue;
          }
          const bool last = t + 1 == micro.length || (!micro.token_mask.empty() && micro.token_mask[at + 1] == 0);
          ASSERT_TRUE(micro.loss_mask[at] == 0 || last || micro.labels[at] == micro.tokens[at + 1]);
          if (micro.segment_ids.empty()) {
            ASSERT_EQ(micro.position_ids[at], t);
          } else if (t > 0) { // a segment ends behind an end token, and nowhere else
            const bool next = micro.tokens[at - 1] == end_token;
            ASSERT_EQ(micro.segment_ids[at], micro.segment_ids[at - 1] + (next ? 1 : 0));
            ASSERT_EQ(micro.position_ids[at], next ? 0 : micro.position_ids[at - 1] + 1);
            ASSERT_TRUE(!next || micro.loss_mask[at - 1] == 0);
          }
        }
      }
    EXPECT_EQ(labels, step.global_loss_tokens);
    EXPECT_EQ(inputs, std::accumulate(step.domain_tokens.begin(), step.domain_tokens.end(), std::int64_t{0}));
  }
}

// In every batch and since the beginning of its stage, less than one sequence from the exact share.
TEST_P(Sampling, SharesAreExactInEveryStage) {
  const auto plan = this->plan();
  const auto stages = plan->stages();
  ASSERT_EQ(stages.size(), GetParam().curriculum ? 3u : 1u);
  for (std::size_t s = 0; s < stages.size(); ++s) {
    const std::int64_t end = s + 1 < stages.size() ? stages[s + 1].first : stages[s].first + 40;
    std::vector<double> given(3);
    for (std::int64_t index = stages[s].first; index < end; ++index) {
      const StepPlan step = plan->plan(index);
      for (std::size_t d = 0; d < 3; ++d) {
        const double exact = 16 * stages[s].shares[d];
        given[d] += static_cast<double>(step.domain_sequences[d]);
        EXPECT_LT(std::abs(static_cast<double>(step.domain_sequences[d]) - exact), 1);
        EXPECT_LT(std::abs(given[d] - exact * static_cast<double>(index + 1 - stages[s].first)), 1);
      }
      for (const MicroStep& micro : step.micro_steps) EXPECT_LE(micro.length, stages[s].length);
    }
  }
}

class SamplingPasses : public Sampling {};

// Over several passes and the ends of stages: no token is an input twice within a pass, and a pass that is over gave nearly
// all that its samples hold.
TEST_P(SamplingPasses, NoTextComesTwice) {
  const auto plan = this->plan();
  std::map<std::pair<std::size_t, std::int64_t>, std::set<std::int64_t>> seen; // by domain and pass
  std::int64_t passes = 0;
  for (std::int64_t index = 0; index < 150; ++index) {
    const StepPlan planned = plan->plan(index);
    const HostStep step = plan->build(index);
    for (std::size_t m = 0; m < planned.micro_steps.size(); ++m)
      for (std::size_t row = 0; row < planned.micro_steps[m].samples.size(); ++row) {
        const SampleId& id = planned.micro_steps[m].samples[row];
        passes = std::max(passes, id.pass);
        auto& given = seen[{id.domain, id.pass}];
        const HostMicroBatch& micro = step.micro_batches[m];
        for (std::int64_t t = 0; t < micro.length; ++t) {
          const std::int64_t token =
              micro.tokens[row * static_cast<std::size_t>(micro.length) + static_cast<std::size_t>(t)];
          if (token == 0 || token == end_token) continue;
          ASSERT_TRUE(given.insert(token).second) << "batch " << index << " token " << token;
        }
      }
  }
  EXPECT_GE(passes, 2) << "the test goes over two ends of a pass";
  const auto told = plan->passes(150);
  EXPECT_NEAR(*std::max_element(told.begin(), told.end()), static_cast<double>(passes) + 0.5, 0.51);
}

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return std::string(c.mode == Mode::window   ? "Windows"
                     : c.mode == Mode::bucket ? "Buckets"
                                              : "Packs") +
         (c.documents ? "ByDocument" : "") + (c.curriculum ? "InStages" : "") + (c.rearranged ? "Rearranged" : "");
}
std::vector<Case> plain_cases() { // a rearranged document has marks in place of some tokens
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) { return c.rearranged; });
  return cases;
}
INSTANTIATE_TEST_SUITE_P(All, Sampling, ::testing::ValuesIn(all_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(All, SamplingPasses, ::testing::ValuesIn(plain_cases()), name_of);

TEST(SamplingInPacks, DocumentsAreWhole) {
  const TemporaryFolder folder;
  const auto store = three_domains();
  PackTable::Request request;
  request.length = 32;
  request.cache = folder.path();
  const auto table = PackTable::make(*store, request);
  ASSERT_TRUE(table.ok());
  PlanSettings settings;
  settings.packs = *table;
  settings.max_length = 32;
  settings.global_batch = settings.micro_batch = 4;
  settings.only_domain = 2;
  const auto plan = make_batch_plan(store, settings);
  ASSERT_TRUE(plan.ok()) << plan.error().render();
  const HostMicroBatch micro = (*plan)->build(0).micro_batches.at(0);
  std::set<std::int64_t> firsts; // of the store's documents
  for (std::int64_t d = 0; d < store->documents(Split::train, 2); ++d) {
    std::int32_t token = 0;
    store->copy(Split::train, 2, store->document_start(Split::train, 2, d), 1, &token);
    firsts.insert(token);
  }
  for (std::int64_t row = 0; row < 4; ++row) {
    std::vector<std::int64_t> ids; // inputs, and the last label
    for (std::int64_t t = 0; t < 32; ++t) {
      const auto at = static_cast<std::size_t>(32 * row + t);
      if (micro.token_mask[at] == 0) break;
      ids.push_back(micro.tokens[at]);
      if (t == 31 || micro.token_mask[at + 1] == 0) ids.push_back(micro.labels[at]);
    }
    EXPECT_EQ(ids.back(), end_token);
    EXPECT_TRUE(firsts.contains(ids[0]));
    for (std::size_t i = 1; i < ids.size(); ++i) {
      if (ids[i] == end_token) continue;
      EXPECT_TRUE(ids[i - 1] == end_token ? firsts.contains(ids[i]) : ids[i] == ids[i - 1] + 1);
    }
  }
}

// Documents of one domain are short and of the others long: sorted by length, its sequences share micro-batches.
TEST(SamplingInBuckets, HostileMixesKeepTheirShares) {
  const auto store = three_domains();
  const RandomStream random(9, "mixes");
  std::uint64_t draw = 0;
  for (int trial = 0; trial < 300; ++trial) {
    PlanSettings settings;
    settings.bucket = true;
    settings.max_length = 32;
    settings.bucket_step = 4;
    settings.global_batch = 1 + static_cast<std::int64_t>(random.below(draw++, 64));
    const std::uint64_t bound = trial % 3 == 0 ? 3 : trial % 3 == 1 ? 1000 : 1'000'000'000;
    std::vector<double> shares;
    for (int d = 0; d < 3; ++d) shares.push_back(1 + static_cast<double>(random.below(draw++, bound)));
    settings.curriculum = {{0, shares, 0}};
    const auto plan = make_batch_plan(store, settings);
    ASSERT_TRUE(plan.ok()) << plan.error().render();
    const auto exact = (*plan)->stages()[0].shares;
    std::vector<double> given(3);
    for (std::int64_t index = 0; index < 40; ++index) {
      const StepPlan step = (*plan)->plan(index);
      for (std::size_t d = 0; d < 3; ++d) {
        const double fair = exact[d] * static_cast<double>(settings.global_batch);
        given[d] += static_cast<double>(step.domain_sequences[d]);
        ASSERT_LT(std::abs(static_cast<double>(step.domain_sequences[d]) - fair), 1) << "trial " << trial;
        ASSERT_LT(std::abs(given[d] - fair * static_cast<double>(index + 1)), 1) << "trial " << trial;
      }
      std::int64_t before = 32;
      for (const MicroStep& micro : step.micro_steps) {
        ASSERT_LE(micro.length, before) << "the longest come first";
        before = micro.length;
      }
    }
  }
}

TEST(SamplingRearranged, OnlyTheDomainsThatAreNamedAndAnewInEachPass) {
  const auto store = three_domains();
  PlanSettings settings;
  settings.bucket = true;
  settings.max_length = 32;
  settings.global_batch = settings.micro_batch = 16;
  settings.fill_in_middle = {1, 0, prefix, suffix, middle, {false, true, false}};
  const auto plan = make_batch_plan(store, settings);
  ASSERT_TRUE(plan.ok());
  std::map<std::int64_t, std::map<std::int64_t, std::vector<std::int64_t>>> rows; // by document and pass
  for (std::int64_t index = 0; index < 200; ++index) {
    const StepPlan planned = (*plan)->plan(index);
    const HostMicroBatch micro = (*plan)->build(index).micro_batches.at(0);
    for (std::size_t row = 0; row < 16; ++row) {
      const SampleId& id = planned.micro_steps[0].samples[row];
      const auto begin = micro.tokens.begin() + static_cast<std::ptrdiff_t>(row) * micro.length;
      const std::vector<std::int64_t> tokens(begin, begin + micro.length);
      const std::int64_t length = store->document_start(Split::train, id.domain, id.sample + 1) -
                                  store->document_start(Split::train, id.domain, id.sample);
      const bool marked = std::find(tokens.begin(), tokens.end(), prefix) != tokens.end();
      EXPECT_EQ(marked, id.domain == 1 && length > 4) << "domain " << id.domain << " of " << length << " tokens";
      if (id.domain == 1 && length > 20) rows[id.sample][id.pass] = tokens;
    }
  }
  int again = 0, other = 0;
  for (const auto& [document, passes] : rows) {
    if (passes.size() < 2) continue;
    ++again;
    other += passes.begin()->second != std::next(passes.begin())->second;
  }
  EXPECT_GT(again, 50);
  EXPECT_GT(other, again * 9 / 10);
}

TEST(SamplingByRule, UniMaxKeepsToItsPasses) {
  const auto store = three_domains();
  PlanSettings settings;
  settings.max_length = 8;
  settings.global_batch = settings.micro_batch = 16;
  settings.batches = 120;
  settings.weights = {WeightRule::unimax, 0.3, 2};
  const auto plan = make_batch_plan(store, settings);
  ASSERT_TRUE(plan.ok()) << plan.error().render();
  const auto passes = (*plan)->passes(120);
  EXPECT_NEAR(passes[0], 2, 0.02) << "the smallest domain";
  for (const double each : passes) EXPECT_LT(each, 2.02);
  const auto shares = (*plan)->stages()[0].shares;
  EXPECT_NEAR(shares[1], shares[2], 2e-6);
  settings.batches = 240;
  const auto longer = make_batch_plan(store, settings);
  ASSERT_TRUE(longer.ok());
  EXPECT_NE((*longer)->digest(), (*plan)->digest()) << "another mixture";
}

TEST(SamplingByRule, RefusesACurriculumThatBreaksItsRules) {
  const auto store = three_domains();
  PlanSettings settings;
  settings.max_length = 32;
  settings.global_batch = settings.micro_batch = 16;
  const auto refusal = [&](std::vector<CurriculumStage> curriculum) {
    settings.curriculum = std::move(curriculum);
    const auto plan = make_batch_plan(store, settings);
    return plan.ok() ? "accepted" : plan.error().where + ": " + plan.error().what;
  };
  EXPECT_EQ(refusal({{5, {}, 0}, {5, {}, 0}}),
            "data.curriculum[1].from: begins with batch 5, not behind the stage before it");
  EXPECT_EQ(refusal({{0, {0, 0, 0}, 0}}), "data.curriculum[0].shares: gives no share above 0 to any domain");
  EXPECT_EQ(refusal({{0, {}, 12}}), "data.curriculum[0].length: 12 does not divide data.length.max = 32");
  settings.bucket = true;
  EXPECT_EQ(refusal({{0, {}, 12}}), "accepted");
  EXPECT_EQ(refusal({{0, {}, 33}}), "data.curriculum[0].length: 33 is not up to data.length.max = 32");
}

} // namespace
} // namespace conclave::data
