// Checks of the options that filters which compare documents have in common.

#include "conclave/datakit/dedup_options.hpp"

#include <regex>

namespace conclave::datakit {

void check_dedup_options(const DedupOptions& options, OptionReport& report) {
  const bool by_dump = options.scope == DedupScope::Within::dump;
  if (by_dump && options.dump.empty()) {
    report.error("dump", "scope: dump needs it", "give a regular expression, e.g. 'CC-MAIN-[0-9]+-[0-9]+'");
  } else if (!by_dump && !options.dump.empty()) {
    report.error("dump", "only scope: dump reads it", "leave it out, or set scope: dump");
  } else if (by_dump) {
    try {
      const std::regex parsed(options.dump);
    } catch (const std::regex_error& error) {
      report.error("dump", "'" + options.dump + "' is no regular expression: " + error.what());
    }
  }
}

} // namespace conclave::datakit
