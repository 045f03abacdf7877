// The last line of a crashing process.

#include "plugin/fault_handler.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "conclave/scheduler.hpp"
#include "conclave/testkit.hpp"
#include "plugin/guard.hpp"
#include "plugin/library.hpp"

namespace conclave {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_UNDER_SANITIZER() GTEST_SKIP() << "the sanitizer's own handlers are in place"
#else
#define SKIP_UNDER_SANITIZER() (void)0
#endif

TEST(FaultHandlerDeathTest, NamesPluginAndCallAndKeepsTheSignal) {
  SKIP_UNDER_SANITIZER();
  auto opened = open_library(std::string(CONCLAVE_FAULT_PLUGINS) + "/scheduler-crashing-call.so");
  ASSERT_TRUE(opened.ok()) << opened.error().render();
  const PluginDescriptor& descriptor = (**opened)[0];
  testkit::FakeHost host;
  auto made = testkit::make<Scheduler>(descriptor, host);
  ASSERT_TRUE(made.ok());
  EXPECT_EXIT(
      {
        const FaultHandler handler;
        (void)guard(descriptor.info.id.c_str(), "learning_rate", [&] { return (*made)->learning_rate(0, {10, 1.0}); });
      },
      testing::KilledBySignal(SIGSEGV), "SIGSEGV .*in plugin scheduler/crashing-call, call learning_rate");
}

TEST(FaultHandlerDeathTest, SaysWhenNoPluginIsAtWork) {
  SKIP_UNDER_SANITIZER();
  EXPECT_EXIT(
      {
        const FaultHandler handler;
        std::abort();
      },
      testing::KilledBySignal(SIGABRT), "SIGABRT .*outside any plugin");
}

TEST(FaultHandler, RestoresWhatWasThere) {
  struct sigaction before {
  }, after{};
  ::sigaction(SIGSEGV, nullptr, &before);
  { const FaultHandler handler; }
  ::sigaction(SIGSEGV, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

} // namespace
} // namespace conclave
