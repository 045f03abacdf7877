// HostWaits against a switch of our own and torch's own warnings.

#include "launch/host_waits.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace conclave {
namespace {

class Recorder final : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override { seen.push_back(warning.msg()); }
  std::vector<std::string> seen;
};

TEST(HostWaits, CountsTheWarningAndPassesOthersOn) {
  Recorder outer;
  const c10::WarningUtils::WarningHandlerGuard guard(&outer);
  int mode = 0;
  {
    HostWaits waits(&mode);
    EXPECT_EQ(mode, 1);
    EXPECT_EQ(waits.count(), 0);
    TORCH_WARN("called a synchronizing CUDA operation");
    TORCH_WARN("something else");
    TORCH_WARN("called a synchronizing CUDA operation");
    EXPECT_EQ(waits.count(), 2);
  }
  EXPECT_EQ(mode, 0);
  TORCH_WARN("called a synchronizing CUDA operation");
  EXPECT_EQ(outer.seen, (std::vector<std::string>{"something else", "called a synchronizing CUDA operation"}));
}

TEST(HostWaits, WithoutASwitchNothingIsCounted) {
  Recorder outer;
  const c10::WarningUtils::WarningHandlerGuard guard(&outer);
  HostWaits waits(nullptr);
  TORCH_WARN("called a synchronizing CUDA operation");
  EXPECT_EQ(waits.count(), std::nullopt);
  EXPECT_EQ(outer.seen.size(), 1U);
}

} // namespace
} // namespace conclave
