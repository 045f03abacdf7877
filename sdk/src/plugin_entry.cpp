// Why a plugin's entry returned null: the text crosses the boundary here, because an exception must not.

#include <exception>
#include <string>

#include "conclave/plugin.hpp"

namespace conclave {
namespace {

thread_local std::string entry_failure; // of the thread that called the entry; the host reads it right after

} // namespace

void record_entry_failure() noexcept {
  try {
    try {
      throw;
    } catch (const std::exception& problem) {
      entry_failure = problem.what();
    } catch (...) {
      entry_failure = "something that is no std::exception";
    }
  } catch (...) { // out of memory while copying the text: the host then says that nothing was recorded
  }
}

std::string take_entry_failure() { return std::exchange(entry_failure, {}); }

} // namespace conclave
