// SHA-256 of files and text, as lower-case hex, by OpenSSL.
//
// Threading: pure functions; any thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "conclave/status.hpp"

namespace conclave {

Result<std::string> sha256_file(const std::filesystem::path& file);
std::string sha256_text(std::string_view text);

} // namespace conclave
