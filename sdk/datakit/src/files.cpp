// Listing of a source's files.

#include "conclave/datakit/files.hpp"

#include <fnmatch.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <memory>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::datakit {
namespace fs = std::filesystem;
namespace {

bool is_pattern(const std::string& part) { return part.find_first_of("*?[") != std::string::npos; }

/// The leading parts of a pattern that name one folder or file.
fs::path fixed_prefix(const fs::path& pattern) {
  fs::path prefix;
  for (const auto& part : pattern) {
    if (is_pattern(part.string())) break;
    prefix /= part;
  }
  return prefix;
}

bool has_extension(const std::string& name, const std::vector<std::string>& extensions) {
  return extensions.empty() ||
         std::any_of(extensions.begin(), extensions.end(), [&](const std::string& end) { return name.ends_with(end); });
}

/// Walks one pattern and collects paths; remembers the first folder that could not be read.
class Walker {
 public:
  explicit Walker(const std::vector<std::string>& extensions) : extensions_(extensions) {}

  Status walk(const fs::path& pattern) {
    parts_.assign(pattern.begin(), pattern.end());
    std::erase_if(parts_, [](const fs::path& part) { return part.empty(); }); // a trailing slash
    named_in_full_ =
        std::none_of(parts_.begin(), parts_.end(), [](const fs::path& part) { return is_pattern(part.string()); });
    descend({}, 0);
    return status_;
  }
  [[nodiscard]] std::vector<fs::path> take() { return std::move(found_); }

 private:
  void descend(const fs::path& at, std::size_t index) {
    if (!status_.ok()) return;
    if (index == parts_.size()) return accept(at);
    const std::string part = parts_[index].string();
    if (part == "**") {
      descend(at, index + 1); // no folder at all
      for (const fs::path& entry : children(at)) {
        std::error_code ignored;
        if (hidden(entry) || !fs::is_directory(fs::symlink_status(entry, ignored))) {
          // The last `**` also takes files, as `**/*` would.
          if (index + 1 == parts_.size() && !hidden(entry) && fs::is_regular_file(entry, ignored)) accept(entry);
          continue;
        }
        descend(entry, index);
      }
    } else if (is_pattern(part)) {
      for (const fs::path& entry : children(at))
        if (matches_part(part, entry.filename().string())) descend(entry, index + 1);
    } else {
      const fs::path next = at / part;
      std::error_code error;
      if (fs::exists(next, error)) descend(next, index + 1);
    }
  }

  void accept(const fs::path& path) {
    std::error_code error;
    if (fs::is_regular_file(path, error)) {
      if (named_in_full_ || has_extension(path.filename().string(), extensions_)) found_.push_back(path);
    } else if (fs::is_directory(path, error) && parts_.back() != "**") {
      take_tree(path);
    }
  }

  void take_tree(const fs::path& folder) {
    for (const fs::path& entry : children(folder)) {
      if (hidden(entry)) continue;
      std::error_code error;
      if (fs::is_directory(fs::symlink_status(entry, error))) {
        take_tree(entry);
      } else if (fs::is_regular_file(entry, error) && has_extension(entry.filename().string(), extensions_)) {
        found_.push_back(entry);
      }
    }
  }

  std::vector<fs::path> children(const fs::path& folder) {
    std::vector<fs::path> entries;
    std::error_code error;
    if (!fs::is_directory(folder, error)) return entries;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      entries.push_back(it->path());
    if (error) {
      status_ = storage_error("cannot read the folder: " + error.message(), "give this user the right to read it",
                              folder.string());
    }
    return entries;
  }

  static bool hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

  const std::vector<std::string>& extensions_;
  std::vector<fs::path> parts_;
  bool named_in_full_ = false;
  std::vector<fs::path> found_;
  Status status_;
};

fs::path common_folder(const std::vector<Path>& paths) {
  fs::path common;
  bool first = true;
  for (const Path& pattern : paths) {
    fs::path prefix = fixed_prefix(fs::path(pattern.value).lexically_normal());
    std::error_code error;
    if (!fs::is_directory(prefix, error)) prefix = prefix.parent_path();
    if (first) {
      common = prefix;
      first = false;
      continue;
    }
    fs::path shared;
    for (auto a = common.begin(), b = prefix.begin(); a != common.end() && b != prefix.end() && *a == *b; ++a, ++b)
      shared /= *a;
    common = shared;
  }
  return common;
}

std::string to_hex(std::uint64_t value) {
  char digits[17] = "0000000000000000";
  char text[16];
  const auto end = std::to_chars(text, text + sizeof text, value, 16).ptr;
  std::copy_backward(text, end, digits + 16);
  return {digits, 16};
}

Result<std::string> content_digest(const std::string& path, std::string& buffer) {
  CONCLAVE_ASSIGN(const auto stream, open_stored_bytes(path));
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  buffer.resize(1 << 20);
  for (;;) {
    CONCLAVE_ASSIGN(const std::size_t got, stream->read(buffer.data(), buffer.size()));
    if (got == 0) break;
    XXH3_64bits_update(state.get(), buffer.data(), got);
  }
  return "content:" + to_hex(XXH3_64bits_digest(state.get()));
}

Result<std::string> stamp_digest(const FileEntry& file) {
  std::error_code error;
  const auto time = fs::last_write_time(file.path, error);
  if (error)
    return storage_error("cannot read the time of change: " + error.message(), "check the disk and the path",
                         file.path);
  return "stamp:" + std::to_string(file.bytes) + ":" + std::to_string(time.time_since_epoch().count());
}

} // namespace

bool matches_part(const std::string& pattern, const std::string& name) {
  return ::fnmatch(pattern.c_str(), name.c_str(), FNM_PERIOD | FNM_NOESCAPE) == 0;
}

std::string hash_hex(std::string_view bytes) { return to_hex(XXH3_64bits(bytes.data(), bytes.size())); }

Result<std::vector<FileEntry>> list_files(const FileSelection& selection) {
  if (selection.paths.empty()) return invalid("no path is given", "list files, folders or patterns under `paths`");
  const fs::path root =
      selection.root.value.empty() ? common_folder(selection.paths) : fs::path(selection.root.value).lexically_normal();
  std::map<std::string, FileEntry> by_id; // sorts and removes what two patterns both name
  std::int64_t total = 0;
  for (const Path& pattern : selection.paths) {
    Walker walker(selection.extensions);
    CONCLAVE_RETURN_IF_ERROR(walker.walk(fs::path(pattern.value).lexically_normal()));
    const std::vector<fs::path> found = walker.take();
    if (found.empty()) {
      return invalid("no file matches " + pattern.value, selection.extensions.empty()
                                                             ? "check the path; `**` stands for any number of folders"
                                                             : "check the path and the list of extensions");
    }
    for (const fs::path& path : found) {
      FileEntry entry;
      entry.path = path.string();
      const fs::path relative = path.lexically_relative(root);
      const bool inside = !relative.empty() && *relative.begin() != "..";
      entry.id = inside ? relative.generic_string() : path.generic_string();
      std::error_code error;
      entry.bytes = static_cast<std::int64_t>(fs::file_size(path, error));
      if (error)
        return storage_error("cannot read the size: " + error.message(), "check the disk and the path", entry.path);
      const std::int64_t bytes = entry.bytes;
      if (by_id.try_emplace(entry.id, std::move(entry)).second) total += bytes;
    }
  }

  std::vector<FileEntry> files;
  files.reserve(by_id.size());
  std::string buffer;
  for (auto& [id, entry] : by_id) {
    CONCLAVE_ASSIGN(entry.digest,
                    total <= content_digest_limit ? content_digest(entry.path, buffer) : stamp_digest(entry));
    files.push_back(std::move(entry));
  }
  return files;
}

} // namespace conclave::datakit
