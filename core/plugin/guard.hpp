// guard(): the one way in which the host calls a plugin.
//
// It sets a thread-local breadcrumb (plugin id, call) that the fault handler and the watchdog print, and turns any
// exception into an Error that names the plugin. The callable returns Status, Result<T>, void or a plain value.
#pragma once

#include <atomic>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "conclave/status.hpp"

namespace conclave {

/// What the current thread is doing inside a plugin; empty outside. Atomic, because the watchdog reads another thread's.
struct Breadcrumb {
  std::atomic<const char*> plugin = nullptr;
  std::atomic<const char*> call = nullptr;
};
Breadcrumb& current_breadcrumb() noexcept;

class BreadcrumbScope {
 public:
  BreadcrumbScope(const char* plugin, const char* call) noexcept
      : plugin_(current_breadcrumb().plugin.exchange(plugin, std::memory_order_relaxed)),
        call_(current_breadcrumb().call.exchange(call, std::memory_order_relaxed)) {}
  ~BreadcrumbScope() {
    current_breadcrumb().plugin.store(plugin_, std::memory_order_relaxed);
    current_breadcrumb().call.store(call_, std::memory_order_relaxed);
  }
  BreadcrumbScope(const BreadcrumbScope&) = delete;
  BreadcrumbScope& operator=(const BreadcrumbScope&) = delete;

 private:
  const char *plugin_, *call_; ///< before
};

/// An internal error without a remedy is a bug of the plugin it names: gives it the plugin's file and whom to tell. Any
/// other error, and an empty `library`, is left as it is.
Error blame_library(Error error, std::string_view library);

/// Inside a catch block: what was thrown, as an Error. Running out of memory (the host's or a GPU's) is Code::unsupported
/// with what to lower; everything else is Code::internal. Null for the host's own code.
Error describe_current_exception(const char* plugin, const char* call);

/// `plugin` and `call` must outlive the call (ids live in descriptors; calls are literals).

template <class F>
auto guard(const char* plugin, const char* call, F&& body) {
  using R = std::invoke_result_t<F>;
  const BreadcrumbScope scope(plugin, call);
  if constexpr (std::is_void_v<R>) {
    try {
      std::forward<F>(body)();
      return Status{};
    } catch (...) {
      return Status{describe_current_exception(plugin, call)};
    }
  } else if constexpr (std::is_same_v<R, Status>) {
    try {
      Status status = std::forward<F>(body)();
      if (status.ok() || plugin == nullptr || !status.error().where.empty()) return status;
      Error error = status.error();
      error.where = plugin;
      return Status{std::move(error)};
    } catch (...) {
      return Status{describe_current_exception(plugin, call)};
    }
  } else if constexpr (requires(R r) {
                         r.ok();
                         r.value();
                         r.error();
                       }) {
    try {
      R result = std::forward<F>(body)();
      if (result.ok() || plugin == nullptr || !result.error().where.empty()) return result;
      Error error = result.error();
      error.where = plugin;
      return R{std::move(error)};
    } catch (...) {
      return R{describe_current_exception(plugin, call)};
    }
  } else {
    try {
      return Result<R>{std::forward<F>(body)()};
    } catch (...) {
      return Result<R>{describe_current_exception(plugin, call)};
    }
  }
}

} // namespace conclave
