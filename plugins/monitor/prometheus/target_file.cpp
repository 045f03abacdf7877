// file_sd JSON.

#include "target_file.hpp"

#include <cerrno>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace conclave::prometheus_monitor {
namespace {

constexpr std::string_view extension = ".json";

/// Of a name that target_path() made after `prefix` (its last part); -1 for any other.
int rank_of(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || !name.ends_with(extension)) return -1;
  name.remove_prefix(prefix.size());
  name.remove_suffix(extension.size());
  int rank = -1;
  if (name.size() < 2 || name.front() != '.' || name[1] == '-') return -1;
  const auto [stopped, failed] = std::from_chars(name.data() + 1, name.data() + name.size(), rank);
  return failed == std::errc() && stopped == name.data() + name.size() ? rank : -1;
}

Error not_written(const std::filesystem::path& file, const std::error_code& reason) {
  return storage_error("cannot write the target file: " + reason.message(),
                       "free space, make the folder writable, or set `targets_file` to another one", file.string());
}

/// The reader watches the folder, so the file comes under another name first.
Status replace(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::path unfinished = file;
  unfinished += ".tmp";
  errno = 0;
  std::ofstream out(unfinished, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  std::error_code failed;
  if (!out)
    failed.assign(errno != 0 ? errno : EIO, std::generic_category());
  else
    std::filesystem::rename(unfinished, file, failed);
  if (!failed) return {};
  std::error_code ignored;
  std::filesystem::remove(unfinished, ignored);
  return not_written(file, failed);
}

} // namespace

std::filesystem::path target_path(const std::filesystem::path& prefix, int rank) {
  std::filesystem::path file = prefix;
  file += "." + std::to_string(rank);
  file += extension;
  return file;
}

void remove_targets_from(const std::filesystem::path& prefix, int first) {
  const std::string name = prefix.filename().string();
  std::error_code ignored;
  std::vector<std::filesystem::path> found; // first all: a walk may miss files while others go
  std::filesystem::directory_iterator entries(prefix.parent_path(), ignored);
  for (; !ignored && entries != std::filesystem::directory_iterator(); entries.increment(ignored))
    if (rank_of(entries->path().filename().string(), name) >= first) found.push_back(entries->path());
  for (const auto& file : found) std::filesystem::remove(file, ignored);
}

Result<TargetFile> TargetFile::write(std::filesystem::path file, const std::string& address, const Labels& labels) {
  std::error_code failed;
  std::filesystem::create_directories(file.parent_path(), failed);
  if (failed) return not_written(file, failed);
  nlohmann::json group = {{"targets", {address}}, {"labels", nlohmann::json::object()}};
  for (const auto& [name, value] : labels) group["labels"][name] = value;
  // A name of a run that is no UTF-8 is still shown.
  const std::string text =
      nlohmann::json::array({group}).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  CONCLAVE_RETURN_IF_ERROR(replace(file, text));
  return TargetFile(std::move(file));
}

TargetFile::TargetFile(TargetFile&& other) noexcept : file_(std::exchange(other.file_, {})) {}

TargetFile& TargetFile::operator=(TargetFile&& other) noexcept {
  std::swap(file_, other.file_);
  return *this;
}

TargetFile::~TargetFile() {
  std::error_code ignored;
  if (!file_.empty()) std::filesystem::remove(file_, ignored);
}

} // namespace conclave::prometheus_monitor
