// Schedules as data: complete, free of deadlock, as short and as small as the papers say.

#include "train/pipeline_schedule.hpp"

#include <gtest/gtest.h>

namespace conclave::train {
namespace {

using Kind = PipelineAction::Kind;

std::string text(const std::vector<PipelineAction>& actions) {
  std::string out;
  for (const PipelineAction& action : actions)
    out += std::string(out.empty() ? "" : " ") + (action.kind == Kind::forward ? "F" : "B") +
           (action.chunk > 0 ? std::string(1, static_cast<char>('a' + action.chunk)) : "") +
           std::to_string(action.micro_batch);
  return out;
}

TEST(PipelineSchedule, OneRankAlternates) {
  const auto made = make_pipeline_schedule({1, 1, 3});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(text((*made)[0]), "F0 B0 F1 B1 F2 B2");
}

TEST(PipelineSchedule, OneForwardOneBackward) { // figure 4 of Narayanan et al. 2021, with 4 ranks and 4 micro-batches
  const auto made = make_pipeline_schedule({4, 1, 4});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(text((*made)[0]), "F0 F1 F2 F3 B0 B1 B2 B3");
  EXPECT_EQ(text((*made)[2]), "F0 F1 B0 F2 B1 F3 B2 B3");
  EXPECT_EQ(text((*made)[3]), "F0 B0 F1 B1 F2 B2 F3 B3");
}

TEST(PipelineSchedule, Interleaved) { // figure 4, lower half: 2 ranks, 2 chunks each; chunk 1 is written a
  const auto made = make_pipeline_schedule({2, 2, 4});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(text((*made)[0]), "F0 F1 Fb0 Fb1 F2 Bb0 F3 Bb1 Fb2 B0 Fb3 B1 Bb2 Bb3 B2 B3");
  EXPECT_EQ(text((*made)[1]), "F0 F1 Fb0 Bb0 Fb1 Bb1 F2 B0 F3 B1 Fb2 Bb2 Fb3 Bb3 B2 B3");
}

TEST(PipelineSchedule, EveryShapeIsCompleteBoundedAndNeverStuck) {
  for (int ranks = 1; ranks <= 8; ++ranks)
    for (int chunks = 1; chunks <= (ranks == 1 ? 1 : 4); ++chunks)
      for (int micro = 1; micro <= 24; ++micro) {
        const PipelineShape shape{ranks, chunks, micro};
        const auto made = make_pipeline_schedule(shape);
        if (chunks > 1 && micro % ranks != 0) {
          ASSERT_FALSE(made.ok());
          EXPECT_EQ(made.error().code, Code::invalid_argument);
          continue;
        }
        ASSERT_TRUE(made.ok());
        const auto check = check_pipeline_schedule(*made, shape);
        ASSERT_TRUE(check.ok()) << check.error().render();
        for (int rank = 0; rank < ranks; ++rank) {
          const int bound = chunks == 1 ? ranks - rank : 2 * (ranks - rank - 1) + (chunks - 1) * ranks + 1;
          EXPECT_LE(check->kept[static_cast<std::size_t>(rank)], bound) << ranks << " " << chunks << " " << micro;
        }
        // In rounds of one pass: the work of one rank and the idle time of filling and draining the pipeline.
        if (micro % ranks == 0) {
          EXPECT_EQ(check->length, 2 * micro * chunks + 2 * (ranks - 1)) << ranks << " " << chunks << " " << micro;
        }
        EXPECT_TRUE(check_pipeline_schedule(make_forward_schedule(shape), shape, true).ok());
      }
}

TEST(PipelineSchedule, TheCheckNamesWhatIsWrong) {
  const PipelineShape shape{2, 1, 2};
  auto error = [&](auto&& spoil) {
    PipelineSchedule schedule = *make_pipeline_schedule(shape);
    spoil(schedule);
    const auto check = check_pipeline_schedule(schedule, shape);
    return check.ok() ? std::string() : check.error().render();
  };
  EXPECT_NE(error([](auto& s) { std::swap(s[1][0], s[1][1]); }).find("micro-batch 0 of rank 0 waits for ever"),
            std::string::npos);
  EXPECT_NE(error([](auto& s) { s[0].pop_back(); }).find("leaves out"), std::string::npos);
  EXPECT_NE(error([](auto& s) { s[0].push_back(s[0].back()); }).find("out of place"), std::string::npos);
  EXPECT_NE(error([](auto& s) { s[0][0].micro_batch = 7; }).find("out of place"), std::string::npos);
}

} // namespace
} // namespace conclave::train
