// The text form of a ProbeResult: an answer line of the child and a file of the cache.
//
// Threading: pure.
#pragma once

#include <optional>
#include <string>

#include "plugin/probe.hpp"

namespace conclave {

/// One line: `{"plugins": [...]}` with describe_json() objects, or `{"problem": "...", "lasting": true}`.
std::string encode_probe(const ProbeResult& result);
/// Nothing when the text is not of that form; further members (the child adds "file") are ignored.
std::optional<ProbeResult> decode_probe(const std::string& text);

} // namespace conclave
