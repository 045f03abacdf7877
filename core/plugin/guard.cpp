// The breadcrumb, and how an escaped exception is told.

#include "plugin/guard.hpp"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace conclave {
namespace {

// Linked into the executable, so it is reached without an allocation: the fault handler reads it inside a signal.
thread_local constinit Breadcrumb breadcrumb;

/// torch's errors append where they were raised and a stack of mangled names: of no use to the one who reads this line.
std::string first_part(std::string text) {
  for (const char* tail :
       {"\nException raised from", "\nframe #", "\nC++ CapturedTraceback", "\nDebug Python traceback"})
    if (const auto at = text.find(tail); at != std::string::npos) text.resize(at);
  while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.pop_back();
  return text;
}

std::string thrown_type() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (!type) return "something unknown";
  int status = 0;
  struct Free {
    void operator()(char* text) const noexcept { std::free(text); }
  };
  const std::unique_ptr<char, Free> name(abi::__cxa_demangle(type->name(), nullptr, nullptr, &status));
  return status == 0 && name ? name.get() : type->name();
}

/// torch's own exceptions, told by name and text: this room does not link torch. A GPU's allocator has a type for it, the
/// CPU's has only words.
bool says_out_of_memory(const std::string& type, const std::string& text) {
  return type == "c10::OutOfMemoryError" ||
         text.find("DefaultCPUAllocator: can't allocate memory") != std::string::npos;
}

/// Nobody's bug: the experiment wants more than this machine has.
Error out_of_memory(const std::string& text, const std::string& where) {
  return unsupported(
      "out of memory" + (text.empty() ? "" : ": " + text),
      "lower train.micro_batch, data.length.max or the model's sizes, set train.recompute: true, or use a machine with "
      "more memory",
      where);
}

} // namespace

Breadcrumb& current_breadcrumb() noexcept { return breadcrumb; }

Error describe_current_exception(const char* plugin, const char* call) {
  const std::string where = plugin != nullptr ? plugin : "";
  const std::string in = call != nullptr ? std::string(call) + "() threw " : "";
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return out_of_memory("", where);
  } catch (const PeerLost& lost) {
    return {Code::peer_lost, "", lost.what(), ""};
  } catch (const std::exception& problem) {
    const std::string type = thrown_type(), text = first_part(problem.what());
    if (says_out_of_memory(type, text)) return out_of_memory(text, where);
    return internal_error(in + type + ": " + text, where);
  } catch (...) {
    return internal_error(in + "a " + thrown_type(), where);
  }
}

Error blame_library(Error error, std::string_view library) {
  if (error.code == Code::internal && error.fix.empty() && !library.empty())
    error.fix = "a bug of the plugin in " + std::string(library) +
                ": tell its author with the run's log and record.json, or leave the plugin out";
  return error;
}

} // namespace conclave
