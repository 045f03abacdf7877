// Signal handlers that print the breadcrumb. Everything reached from on_fault() must be async-signal-safe.

#include "plugin/fault_handler.hpp"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <vector>

#include "plugin/guard.hpp"

namespace conclave {
namespace {

struct Fault {
  int number;
  const char* name; // strsignal() is not async-signal-safe
};
constexpr std::array<Fault, 5> faults{{{SIGSEGV, "SIGSEGV (bad memory access)"},
                                       {SIGBUS, "SIGBUS (bad memory access; a mapped file was cut short?)"},
                                       {SIGFPE, "SIGFPE (integer division by zero)"},
                                       {SIGILL, "SIGILL (an instruction this CPU lacks)"},
                                       {SIGABRT, "SIGABRT (abort)"}}};

// A sanitizer's own report says more.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitizer_reports = true;
#else
constexpr bool sanitizer_reports = false;
#endif

void write_text(const char* text) noexcept {
  // The process is ending: a failed write has nobody to be told to.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

void on_fault(int number) noexcept {
  const char* name = "a fatal signal";
  for (const Fault& fault : faults)
    if (fault.number == number) name = fault.name;
  write_text("\nconclave: ");
  write_text(name);
  const Breadcrumb& crumb = current_breadcrumb();
  if (crumb.plugin) {
    write_text(" in plugin ");
    write_text(crumb.plugin);
    if (crumb.call) {
      write_text(", call ");
      write_text(crumb.call);
    }
    write_text("(): a bug of that plugin unless it was handed bad data\n");
  } else {
    write_text(" outside any plugin: a bug of the host\n");
  }
  // SA_RESETHAND has put the default action back, so this ends the process with the signal's own status.
  ::raise(number);
}

} // namespace

struct FaultHandler::Saved {
  std::array<struct sigaction, faults.size()> actions{};
  stack_t stack{};
  std::vector<char> memory = std::vector<char>(64 * 1024);
};

FaultHandler::FaultHandler() {
  if (sanitizer_reports) return;
  saved_ = std::make_unique<Saved>();
  stack_t stack{};
  stack.ss_sp = saved_->memory.data();
  stack.ss_size = saved_->memory.size();
  ::sigaltstack(&stack, &saved_->stack);
  for (std::size_t i = 0; i < faults.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = on_fault;
    action.sa_flags = static_cast<int>(SA_ONSTACK | SA_RESETHAND | SA_NODEFER);
    ::sigemptyset(&action.sa_mask);
    ::sigaction(faults[i].number, &action, &saved_->actions[i]);
  }
}

FaultHandler::~FaultHandler() {
  if (!saved_) return;
  for (std::size_t i = 0; i < faults.size(); ++i) ::sigaction(faults[i].number, &saved_->actions[i], nullptr);
  ::sigaltstack(&saved_->stack, nullptr);
}

} // namespace conclave
