// source/code: see code_source.hpp.

#include "code_source.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "conclave/datakit/byte_stream.hpp"
#include "conclave/datakit/files.hpp"
#include "languages.hpp"

namespace conclave::code {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t shard_bytes = 8 << 20;
constexpr std::int64_t shard_files = 4096;

class CodeReader final : public ShardReader {
 public:
  CodeReader(const std::string& folder, const std::string& prefix, const TreeRule& rule, const std::string& first,
             std::int64_t files, std::size_t max_document)
      : folder_(folder), prefix_(prefix), walk_(folder, rule, first), left_(files), max_document_(max_document) {}

  Result<bool> next(RawDocument& out) override {
    out.clear();
    while (left_ > 0) {
      CONCLAVE_ASSIGN(const bool more, walk_.next(file_));
      if (!more) return false;
      --left_;
      CONCLAVE_ASSIGN(const auto stream, datakit::open_stored_bytes((fs::path(folder_) / file_.path).string()));
      CONCLAVE_ASSIGN(const bool whole, datakit::read_all(*stream, max_document_, out.text));
      if (!whole || out.text.find('\0') != std::string::npos) {
        ++skipped_;
        continue;
      }
      if (out.text.find_first_not_of(" \t\r\n\v\f") == std::string::npos) continue;
      out.id = prefix_ + file_.path;
      out.language = "code:" + std::string(language_of(fs::path(file_.path).filename().string()));
      return true;
    }
    return false;
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  const std::string &folder_, &prefix_; // of the source, which outlives its readers
  TreeWalk walk_;
  TreeFile file_;
  std::int64_t left_;
  std::size_t max_document_;
  std::int64_t skipped_ = 0;
};

bool contains(const fs::path& outer, const fs::path& inner) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

} // namespace

OptionTable code_options() {
  return OptionTableBuilder<CodeOptions>()
      .opt("paths", &CodeOptions::paths)
      .required()
      .doc("Folders; everything below them is read. Names that begin with a dot are left out.")
      .opt("languages", &CodeOptions::languages)
      .doc("Only files of these languages, e.g. [go, cpp]; empty: every language that is known by a file's name.")
      .opt("exclude", &CodeOptions::exclude)
      .doc("Files and folders whose own names match one of these patterns (`*`, `?`, `[a-z]`) are left out.")
      .opt("max_document", &CodeOptions::max_document)
      .range(64, 1 << 30)
      .doc("A longer file is skipped.")
      .validate([](const CodeOptions& options, OptionReport& report) {
        for (const std::string& language : options.languages)
          if (!std::ranges::binary_search(known_languages(), std::string_view(language)))
            report.error("languages", "no language is called " + language,
                         "the README of source/code lists them; they are written in lower case");
      })
      .build();
}

CodeSource::CodeSource(HostContext&, const CodeOptions& options) : options_(options) {
  const auto excluded = [this](const std::string& name) {
    return name.starts_with('.') || std::ranges::any_of(options_.exclude, [&](const std::string& pattern) {
             return datakit::matches_part(pattern, name);
           });
  };
  rule_.enters = [excluded](const std::string& name) { return !excluded(name); };
  rule_.takes = [this, excluded](const std::string& name) {
    const std::string_view language = language_of(name);
    if (language.empty() || excluded(name)) return false;
    return options_.languages.empty() || std::ranges::find(options_.languages, language) != options_.languages.end();
  };
}

/// The folders to read. Ids are relative to the only one, or to the deepest that all of them share.
Result<std::vector<CodeSource::Folder>> CodeSource::folders() const {
  std::vector<fs::path> paths;
  for (const Path& path : options_.paths) {
    fs::path normal = (fs::path(path.value) / "").lexically_normal().parent_path(); // without a slash at its end
    std::error_code error;
    if (!fs::is_directory(normal, error))
      return invalid("there is no folder " + path.value, "name folders under `paths`; source/text reads single files");
    for (const fs::path& other : paths)
      if (contains(other, normal) || contains(normal, other))
        return invalid(other.string() + " and " + normal.string() + " overlap", "leave one of them out");
    paths.push_back(std::move(normal));
  }
  if (paths.empty()) return invalid("no path is given", "list folders under `paths`");
  fs::path shared = paths.front();
  while (!std::ranges::all_of(paths, [&](const fs::path& path) { return contains(shared, path); }))
    shared = shared.parent_path();
  std::vector<Folder> folders;
  for (const fs::path& path : paths)
    folders.push_back({path.string(), paths.size() == 1 ? "" : path.lexically_relative(shared).generic_string() + "/"});
  return folders;
}

Status CodeSource::list() {
  const std::lock_guard lock(mutex_);
  if (listed_) return {};
  CONCLAVE_ASSIGN(folders_, folders());
  infos_.clear(); // an earlier attempt may have failed half way
  runs_.clear();
  for (std::size_t f = 0; f < folders_.size(); ++f) {
    TreeWalk walk(folders_[f].path, rule_);
    Run run{f, {}, 0};
    ShardInfo info{{}, {}, 0};
    const auto close = [&] {
      info.id = folders_[f].prefix + run.first + (run.files > 1 ? "+" + std::to_string(run.files - 1) : "");
      runs_.emplace(info.id, std::exchange(run, {f, {}, 0}));
      infos_.push_back(std::exchange(info, {{}, {}, 0}));
    };
    TreeFile file;
    const std::size_t before = infos_.size();
    for (;;) {
      CONCLAVE_ASSIGN(const bool more, walk.next(file));
      if (!more) break;
      if (run.files++ == 0) run.first = file.path;
      info.bytes += file.bytes;
      info.digest = datakit::hash_hex(info.digest + file.path + '\n' + std::to_string(file.bytes) + ':' +
                                      std::to_string(file.changed));
      if (info.bytes >= shard_bytes || run.files >= shard_files) close();
    }
    if (run.files > 0) close();
    if (infos_.size() == before)
      return invalid("no file of a known language lies below " + folders_[f].path,
                     "check `paths`, `languages` and `exclude`");
  }
  listed_ = true;
  return {};
}

Result<std::vector<ShardInfo>> CodeSource::shards() {
  CONCLAVE_RETURN_IF_ERROR(list());
  return infos_;
}

Result<std::unique_ptr<ShardReader>> CodeSource::open(const ShardInfo& shard) {
  CONCLAVE_RETURN_IF_ERROR(list());
  const auto found = runs_.find(shard.id);
  if (found == runs_.end())
    return invalid("there is no shard " + shard.id, "list the shards again: the files may have changed since");
  const Run& run = found->second;
  const Folder& folder = folders_[run.folder];
  return std::unique_ptr<ShardReader>(std::make_unique<CodeReader>(
      folder.path, folder.prefix, rule_, run.first, run.files, static_cast<std::size_t>(options_.max_document.value)));
}

} // namespace conclave::code
