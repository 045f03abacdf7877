// Frames of a made-up run, at many sizes.

#include "top/frame.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace conclave::top {
namespace {

std::size_t columns_of(const std::string& line) {
  std::size_t columns = 0;
  for (const char c : line) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return columns;
}

View running(int steps = 1000, int layers = 2) {
  View view;
  view.name = "made-up";
  view.step = steps;
  view.total_steps = 4000;
  view.ranks = 8;
  view.attempt = 1;
  view.step_seconds = 2;
  view.data_wait_seconds = 0.001;
  view.checkpoint = 900;
  view.silent_seconds = 3;
  for (int step = 1; step <= steps; ++step) view.points.push_back({step, 8.0 - 0.004 * step, 1e-4, 1.5e6, 0.75});
  for (int layer = 0; layer < layers; ++layer)
    view.experts.push_back({std::to_string(layer), {10, 10, 10, 10}, 1.0 + layer});
  view.held_out = {{"code", 1.25}, {"web", 3.5}};
  return view;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(Frame, SaysWhereARunIs) {
  const std::string text = joined(render(running(), {80, 24}, false));
  EXPECT_NE(text.find("made-up  step 1 000 of 4 000, attempt 2, 8 ranks\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  25.0 %, 01:40:00 left\n"), std::string::npos) << text;
  EXPECT_NE(text.find("step 2 s, data wait 0.001 s, checkpoint at 900, heard 00:00:03 ago\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("loss          4 "), std::string::npos) << text;
  EXPECT_NE(text.find("tokens/s      1.5M"), std::string::npos) << text;
  EXPECT_NE(text.find("layer 1       2 "), std::string::npos) << text;
  EXPECT_NE(text.find("held-out nll  code 1.25, web 3.5\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Frame, FitsEverySize) {
  for (const int layers : {0, 2, 61})
    for (const FrameSize size : {FrameSize{80, 24}, {1, 1}, {10, 3}, {40, 8}, {200, 60}, {81, 25}, {24, 100}})
      for (const bool colour : {false, true}) {
        const auto lines = render(running(1000, layers), size, colour, "trouble");
        EXPECT_LE(static_cast<int>(lines.size()), size.rows) << size.columns << "x" << size.rows;
        for (const std::string& line : lines)
          if (!colour) {
            EXPECT_LE(static_cast<int>(columns_of(line)), size.columns) << line;
          }
      }
}

TEST(Frame, ColoursAddNothingElse) {
  const std::string with = joined(render(running(), {80, 24}, true)),
                    without = joined(render(running(), {80, 24}, false));
  std::string stripped;
  for (std::size_t at = 0; at < with.size(); ++at) {
    if (with[at] != '\x1b') {
      stripped += with[at];
      continue;
    }
    at = with.find('m', at);
  }
  EXPECT_NE(with, without);
  EXPECT_EQ(stripped, without);
}

TEST(Frame, ARunThatHasJustBegun) {
  View view;
  const std::string text = joined(render(view, {80, 24}, false));
  EXPECT_NE(text.find("step 0 of 0"), std::string::npos);
  EXPECT_NE(text.find("no checkpoint yet"), std::string::npos);
}

TEST(Frame, HowARunEnded) {
  View view = running();
  view.exit_code = 0;
  EXPECT_NE(joined(render(view, {80, 24}, false)).find(" 25.0 %, done\n"), std::string::npos);
  view.exit_code = 76;
  view.ended = {{0, "76: rank 3 is lost"}, {1, "0: done"}, {3, "5: disk full"}};
  const std::string text = joined(render(view, {80, 24}, false));
  EXPECT_NE(text.find(" 25.0 %, ended with 76\n"), std::string::npos);
  EXPECT_NE(text.find("2 of 8 ranks ended badly; rank 0 with 76: rank 3 is lost\n"), std::string::npos) << text;
}

TEST(Frame, NamesAreNoControlSequences) {
  View view = running();
  view.name = "evil\x1b[2J\n";
  const std::string first = render(view, {80, 24}, false).front();
  EXPECT_EQ(first.find('\x1b'), std::string::npos);
  EXPECT_TRUE(first.starts_with("evil?[2J?  step")) << first;
}

TEST(Frame, TheMostUnevenLayersWhereNotAllHaveRoom) {
  View view = running(1000, 61);
  view.experts[7].fullest = 100;
  const std::string text = joined(render(view, {80, 24}, false));
  EXPECT_NE(text.find("most uneven of 61 layers"), std::string::npos) << text;
  EXPECT_NE(text.find("layer 7       100"), std::string::npos) << text;
  EXPECT_NE(text.find("layer 60      61"), std::string::npos) << text;
  EXPECT_EQ(text.find("layer 3 "), std::string::npos) << text;
}

TEST(Frame, LoadsOfExperts) {
  View view = running(10, 0);
  view.experts.push_back({"0", {20, 10, 5, 0, 15}, 2});
  // The mean, 10, is half a block.
  EXPECT_NE(joined(render(view, {80, 24}, false)).find("2         █▄▂ ▆\n"), std::string::npos)
      << joined(render(view, {80, 24}, false));
}

TEST(Curve, RisesFromTheLeastToTheMost) {
  EXPECT_EQ(curve({0, 1, 2, 3, 4, 5, 6, 7}, 8, 1), (std::vector<std::string>{"▁▂▃▄▅▆▇█"}));
  EXPECT_EQ(curve({0, 15}, 8, 2), (std::vector<std::string>{" █", "▁█"}));
  EXPECT_EQ(curve({3, 3}, 8, 1).front().size(), 6u); // two of a kind
  EXPECT_EQ(curve({}, 8, 2), (std::vector<std::string>{"", ""}));
}

TEST(Curve, ManyValuesAreMeansOfColumns) {
  std::vector<double> values;
  for (int i = 0; i < 800; ++i) values.push_back(i / 100);
  EXPECT_EQ(curve(values, 8, 1), (std::vector<std::string>{"▁▂▃▄▅▆▇█"}));
}

TEST(Curve, ValuesThatAreNone) {
  const double nan = std::nan("");
  EXPECT_EQ(curve({0, nan, 7}, 8, 1), (std::vector<std::string>{"▁!█"}));
  EXPECT_EQ(curve({nan, nan}, 8, 2), (std::vector<std::string>{"", "!!"}));
}

TEST(Texts, TimesAndNumbers) {
  EXPECT_EQ(time_text(0), "00:00:00");
  EXPECT_EQ(time_text(3661.9), "01:01:01");
  EXPECT_EQ(time_text(90000), "1 d 01:00");
  EXPECT_EQ(time_text(-1), "?");
  EXPECT_EQ(time_text(std::nan("")), "?");
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(1.23456), "1.235");
  EXPECT_EQ(short_number(1'670'000), "1.67M");
  EXPECT_EQ(short_number(2.4e-7), "2.4e-07");
  EXPECT_EQ(short_number(std::nan("")), "nan");
}

} // namespace
} // namespace conclave::top
