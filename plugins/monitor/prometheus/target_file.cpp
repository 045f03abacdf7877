// file_sd JSON.

#include "target_file.hpp"

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

namespace conclave::prometheus_monitor {
namespace {

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
