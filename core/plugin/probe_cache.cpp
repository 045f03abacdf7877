// One file for each probed library: <directory>/<sha256 of the library>-<hash of the host's fingerprint>.json

#include <unistd.h>

#include <fstream>
#include <sstream>
#include <system_error>

#include "plugin/build_fingerprint.hpp"
#include "plugin/probe.hpp"
#include "plugin/probe_wire.hpp"
#include "plugin/sha256.hpp"

namespace conclave {

ProbeCache::ProbeCache(std::filesystem::path directory) : directory_(std::move(directory)) {}

std::filesystem::path ProbeCache::path_of(const std::string& sha256) const {
  // Another host build may answer differently for the same library. 16 digits are plenty between builds of one user.
  const BuildFingerprint& host = host_fingerprint();
  static const std::string of_host = sha256_text("probe 1\n" + host.sdk + "\n" + host.torch + "\n" + host.cuda + "\n" +
                                                 host.compiler + "\n" + host.sanitizer)
                                         .substr(0, 16);
  return directory_ / (sha256 + "-" + of_host + ".json");
}

std::optional<ProbeResult> ProbeCache::load(const std::string& sha256) const {
  if (directory_.empty()) return std::nullopt;
  std::ifstream in(path_of(sha256), std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return decode_probe(text.str());
}

void ProbeCache::store(const std::string& sha256, const ProbeResult& result) const {
  if (directory_.empty() || !result.lasting) return;
  std::error_code failed;
  std::filesystem::create_directories(directory_, failed);
  const std::filesystem::path path = path_of(sha256);
  std::filesystem::path temporary = path;
  temporary += "." + std::to_string(::getpid()); // several ranks may start at once
  {
    std::ofstream out(temporary, std::ios::binary);
    out << encode_probe(result) << '\n';
    out.close();
    if (!out) {
      std::filesystem::remove(temporary, failed);
      return;
    }
  }
  std::filesystem::rename(temporary, path, failed);
  if (failed) std::filesystem::remove(temporary, failed);
}

} // namespace conclave
