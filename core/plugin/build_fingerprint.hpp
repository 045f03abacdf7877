// BuildFingerprint: what a plugin library says of its build, read from its ELF file without opening it.
//
// What this is: the reader of the note that CONCLAVE_PLUGINS leaves in a library (sdk: fingerprint.hpp), and the rules by
// which it fits this host. What this is not: proof of origin; plugins are trusted code.
//
// Threading: pure functions; any thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "conclave/status.hpp"

namespace conclave {

/// The fields of the note; "" where a line is missing.
struct BuildFingerprint {
  std::string sdk; ///< hash of the public SDK headers
  std::string sdk_version;
  std::string torch, cuda;   ///< empty for a plugin without tensors
  std::string cxx11_abi;     ///< "1" or "0"
  std::string libstdcxx;     ///< major release, e.g. "12"
  std::string sanitizer;     ///< "", "address" or "thread"
  std::string stdlib_checks; ///< "", "debug" or "assertions"
  std::string compiler;      ///< of no consequence but a warning
  friend bool operator==(const BuildFingerprint&, const BuildFingerprint&) = default;
};

/// Reads `key=value` lines. Unknown keys are ignored, so that a later SDK may add some.
BuildFingerprint parse_fingerprint(std::string_view text);

/// The note of a shared library. A file that is no ELF library, or carries no note, is an error that says which.
Result<BuildFingerprint> read_fingerprint(const std::filesystem::path& file);

/// Of this executable, as a plugin with tensors would have it.
const BuildFingerprint& host_fingerprint();

struct FingerprintVerdict {
  std::vector<std::string> mismatches; ///< each names a field and both sides; empty: it fits
  std::vector<std::string> warnings;
  [[nodiscard]] bool fits() const noexcept { return mismatches.empty(); }
  /// All mismatches (else all warnings) in one line, and how to rebuild; "" when there is neither.
  [[nodiscard]] std::string render() const;
};

/// sdk, C++11 ABI, sanitizer and library checks must be equal; libstdc++ no newer than the host's; torch and CUDA equal
/// for a plugin that uses tensors; another compiler only warns.
FingerprintVerdict compare_fingerprints(const BuildFingerprint& plugin, const BuildFingerprint& host);

/// Models and optimizers exchange tensors with the host: why a library with a plugin of that kind cannot be used when its
/// note names no torch, for then nothing says that it was built against the host's. "" when it can.
std::string missing_tensor_note(const BuildFingerprint& plugin, std::string_view kind);

} // namespace conclave
