// main() of the operators' tests: opens a GPU as the host does when CONCLAVE_TEST_DEVICE=cuda, or skips loudly; without our kernels
// when CONCLAVE_TEST_OPERATORS=reference.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "conclave/ops/backends.hpp"
#include "launch/device.hpp"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (std::getenv("CONCLAVE_TEST_DEVICE") != nullptr) {
    // Before anything asks ATen about CUDA: it remembers a "no".
    const auto opened = conclave::open_device(conclave::DeviceChoice::cuda, 0, false);
    if (!opened.ok()) {
      std::printf("SKIPPED: %s\n", opened.error().render().c_str());
      return 77;
    }
    std::printf("%s\n", opened->name.c_str());
  }
  if (std::getenv("CONCLAVE_TEST_OPERATORS") != nullptr)
    conclave::ops::use_operators(conclave::ops::Operators::reference);
  return RUN_ALL_TESTS();
}
