// What the cases of the conformance suite are made of.
//
// A case is a function that throws CaseFailure (with require()) or CaseSkipped. Anything else that it throws is a failure
// too: a plugin's exception, or a Status that needed to be ok.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "conclave/plugin.hpp"
#include "conclave/testkit.hpp"

namespace conclave::conformance {

class CaseFailure : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};
class CaseSkipped : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

void require(bool condition, const std::string& otherwise);
void require_ok(const Status& status, const std::string& doing);
template <class T>
T require_ok(Result<T> result, const std::string& doing) {
  require_ok(result.status(), doing);
  return std::move(result).value();
}

/// Looks up the plugin of a nested block.
using FindPlugin = std::function<Result<const PluginDescriptor*>(const std::string& id)>;

/// The plugin under test and the options its instances get.
struct Subject {
  const PluginDescriptor& descriptor;
  Value with;         ///< null: all defaults
  bool given = false; ///< the user gave options
  FindPlugin find;    ///< for the nested plugins of `with`

  /// Fails when it cannot be made; skips when that is for want of options that nobody gave, or of a nested plugin.
  [[nodiscard]] std::shared_ptr<Plugin> make(HostContext& host) const;
  template <class K>
  [[nodiscard]] std::shared_ptr<K> make(HostContext& host) const {
    return std::static_pointer_cast<K>(make(host));
  }
  /// A host that is about to train.
  [[nodiscard]] testkit::FakeHost::Settings in_training() const {
    return {.phase = Phase::train, .plugin_id = descriptor.info.id};
  }
};

struct Case {
  const char* name;
  void (*run)(const Subject&);
};

std::vector<Case> generic_cases();
std::vector<Case> source_cases();
std::vector<Case> filter_cases();
std::vector<Case> tokenizer_cases();
std::vector<Case> scheduler_cases();
std::vector<Case> monitor_cases();
std::vector<Case> checkpoint_cases();
std::vector<Case> optimizer_cases(); // tensor_kinds.cpp
std::vector<Case> model_cases();     // tensor_kinds.cpp
/// The generic ones, then those of the kind.
std::vector<Case> cases_of(const std::string& kind);

/// Documents of many shapes: empty, one word, prose, code, lists, other scripts, long, and equal ones.
std::vector<std::string> sample_texts();

} // namespace conclave::conformance
