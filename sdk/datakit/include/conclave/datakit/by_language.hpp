// The option `by_language` of filters: other thresholds for documents of some languages.
//
// What this is: names of thresholds that a user may set per language, and the options of each. A filter writes a document's
// language_key() as a column and asks for its options when it selects, so changing thresholds costs no pass over the text.
// What this is not: a guess of the language; a document has the one that its source gives it.
//
// Threading: immutable after construction.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "conclave/options.hpp"

namespace conclave::datakit {

/// By language (`zh`), then by the threshold's name.
using ByLanguage = std::map<std::string, std::map<std::string, double>>;

/// Equal for tags of the same primary language, whatever script or region they name: `zh`, `zh-Hant` and `ZH`. 0 for an
/// empty tag.
std::uint64_t language_key(std::string_view tag);

template <class O>
struct Threshold {
  const char* name;
  void (*set)(O& options, double value);
};

/// Options O and what they become for some languages.
template <class O>
class LanguageOptions {
 public:
  LanguageOptions(const O& options, const ByLanguage& by_language, std::span<const Threshold<O>> thresholds)
      : options_(options) {
    for (const auto& [language, values] : by_language) {
      O& own = own_.emplace(language_key(language), options).first->second;
      for (const Threshold<O>& threshold : thresholds)
        if (const auto value = values.find(threshold.name); value != values.end()) threshold.set(own, value->second);
    }
  }
  /// Of a document with that language_key().
  [[nodiscard]] const O& of(std::uint64_t language) const {
    const auto own = own_.find(language);
    return own == own_.end() ? options_ : own->second;
  }

 private:
  O options_;
  std::map<std::uint64_t, O> own_;
};

/// Names in `by_language` that no threshold has, as errors.
template <class O>
void check_by_language(const ByLanguage& by_language, std::span<const Threshold<O>> thresholds, OptionReport& report) {
  for (const auto& [language, values] : by_language)
    for (const auto& [name, value] : values) {
      bool known = false;
      std::string names;
      for (const Threshold<O>& threshold : thresholds) {
        known = known || name == threshold.name;
        names += (names.empty() ? "" : ", ") + std::string(threshold.name);
      }
      if (!known)
        report.error("by_language." + language + "." + name, "there is no such threshold", "there are: " + names);
    }
}

} // namespace conclave::datakit
