// TreeWalk: see tree.hpp.

#include "tree.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace conclave::code {
namespace fs = std::filesystem;

TreeWalk::TreeWalk(const std::string& folder, const TreeRule& rule, const std::string& from)
    : folder_(folder), rule_(rule) {
  for (const fs::path& part : fs::path(from)) from_.push_back(part.string());
}

Status TreeWalk::descend(std::string path) {
  Level level{std::move(path), {}};
  const fs::path folder = fs::path(folder_) / level.path;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    std::error_code ignored;
    const bool is_folder = it->is_directory(ignored) && !it->is_symlink(ignored);
    if (is_folder ? rule_.enters(name) : rule_.takes(name)) level.entries.push_back({std::move(name), is_folder});
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return storage_error("cannot read the folder: " + error.message(), "give this user the right to read it",
                         folder.string());
  std::ranges::sort(level.entries, {}, &Entry::name);
  if (!from_.empty()) {
    const auto first = std::ranges::lower_bound(level.entries, from_.front(), {}, &Entry::name);
    level.at = static_cast<std::size_t>(first - level.entries.begin());
    const bool inside = first != level.entries.end() && first->folder && first->name == from_.front();
    inside ? static_cast<void>(from_.erase(from_.begin())) : from_.clear();
  }
  levels_.push_back(std::move(level));
  return {};
}

Result<bool> TreeWalk::next(TreeFile& out) {
  if (!std::exchange(started_, true)) CONCLAVE_RETURN_IF_ERROR(descend(""));
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.at == level.entries.size()) {
      levels_.pop_back();
      continue;
    }
    const Entry& entry = level.entries[level.at++];
    std::string path = level.path + entry.name;
    if (entry.folder) {
      CONCLAVE_RETURN_IF_ERROR(descend(path + "/"));
      continue;
    }
    const fs::path whole = fs::path(folder_) / path;
    std::error_code error;
    const auto bytes = fs::is_regular_file(whole, error) ? fs::file_size(whole, error) : 0;
    const auto changed = error ? fs::file_time_type{} : fs::last_write_time(whole, error);
    if (error || bytes == 0) continue; // a pipe, a link to nothing, a file that just went away, or nothing in it
    out = {std::move(path), static_cast<std::int64_t>(bytes),
           static_cast<std::int64_t>(changed.time_since_epoch().count())};
    return true;
  }
  return false;
}

} // namespace conclave::code
