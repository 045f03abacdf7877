// main() of the operators' GPU tests: opens libtorch_cuda as the host does, or skips loudly.

#include <ATen/Context.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdio>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  // Before anything asks ATen about CUDA: it remembers a "no".
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr || !at::globalContext().hasCUDA()) {
    std::printf("SKIPPED: no GPU, or LibTorch without CUDA\n");
    return 77;
  }
  return RUN_ALL_TESTS();
}
