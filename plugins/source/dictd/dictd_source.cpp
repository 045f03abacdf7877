// source/dictd: see dictd_source.hpp.

#include "dictd_source.hpp"

#include <algorithm>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>

#include "body.hpp"

namespace conclave::dictd {
namespace {

constexpr std::int64_t shard_bytes = 8 << 20; // of the uncompressed body

bool same_letter(char a, char b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return lower(a) == lower(b);
}

/// Some dictionaries repeat the headword at the head of the article, others leave it to the index.
bool begins_with_headword(std::string_view article, std::string_view headword) {
  article.remove_prefix(std::min(article.find_first_not_of(" \t\r\n"), article.size()));
  return article.size() >= headword.size() &&
         std::equal(headword.begin(), headword.end(), article.begin(), same_letter);
}

class DictdReader final : public ShardReader {
 public:
  DictdReader(std::string name, std::span<const Entry> entries, std::int64_t first, std::int64_t malformed,
              std::unique_ptr<Body> body, const DictdOptions& options)
      : name_(std::move(name)),
        entries_(entries),
        first_(first),
        skipped_(malformed),
        body_(std::move(body)),
        per_document_(options.entries_per_document),
        max_document_(options.max_document) {}

  Result<bool> next(RawDocument& out) override {
    out.clear();
    std::string& text = out.text;
    for (std::int64_t taken = 0; at_ < entries_.size() && taken < per_document_; ++at_) {
      const Entry& entry = entries_[at_];
      if (taken > 0 && static_cast<std::int64_t>(text.size()) + entry.length > max_document_) break;
      if (entry.length > max_document_) {
        ++skipped_;
        continue;
      }
      CONCLAVE_ASSIGN(const bool there, body_->read(entry.offset, entry.length, article_));
      if (!there) { // the index points past the end
        ++skipped_;
        continue;
      }
      const std::size_t end = article_.find_last_not_of(" \t\r\n");
      if (end == std::string::npos) continue;
      article_.resize(end + 1);
      if (taken == 0) {
        out.id = name_ + "#" + std::to_string(first_ + static_cast<std::int64_t>(at_));
      } else {
        text += "\n\n";
      }
      if (!begins_with_headword(article_, entry.headword)) text += entry.headword + "\n";
      text += article_;
      ++taken;
    }
    return !text.empty();
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  std::string name_;
  std::span<const Entry> entries_; // of the source, which outlives its readers
  std::int64_t first_, skipped_;
  std::unique_ptr<Body> body_;
  std::int64_t per_document_, max_document_;
  std::size_t at_ = 0;
  std::string article_;
};

} // namespace

OptionTable dictd_options() {
  OptionTableBuilder<DictdOptions> builder;
  datakit::add_file_options(builder);
  return builder.opt("entries_per_document", &DictdOptions::entries_per_document)
      .range(1, 1e6)
      .doc("So many consecutive articles make one document; dictionary entries alone are short.")
      .opt("max_document", &DictdOptions::max_document)
      .range(64, 1 << 30)
      .doc("A group ends before it grows beyond; a longer single article is skipped.")
      .build();
}

DictdSource::DictdSource(HostContext&, const DictdOptions& options)
    : options_(options), shards_([this] { return list(); }) {}

Result<std::vector<datakit::FileShard>> DictdSource::list() {
  CONCLAVE_ASSIGN(const auto files, datakit::list_files(options_));
  std::vector<datakit::FileShard> shards;
  for (const datakit::FileEntry& file : files) {
    Database database;
    CONCLAVE_ASSIGN(database.body, find_body(file.path));
    CONCLAVE_ASSIGN(database.index, read_index(file.path));
    CONCLAVE_ASSIGN(const auto body, datakit::list_files({.paths = {{database.body}}, .root = {}, .extensions = {}}));

    // Shards begin where documents do, so that neither their number nor their text depends on the cut.
    const auto& entries = database.index.entries;
    std::vector<std::int64_t> cuts{0};
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      bytes += entries[i].length;
      if (bytes < shard_bytes || (static_cast<std::int64_t>(i) + 1) % options_.entries_per_document != 0) continue;
      cuts.push_back(static_cast<std::int64_t>(i) + 1);
      bytes = 0;
    }
    if (cuts.back() != static_cast<std::int64_t>(entries.size()))
      cuts.push_back(static_cast<std::int64_t>(entries.size()));
    if (entries.empty())
      return invalid("the index holds no article that could be read", "check that it is a dictd index", file.path);

    datakit::FileEntry whole = file;
    whole.digest += body.front().digest;
    whole.bytes = body.front().bytes;
    std::ranges::move(datakit::cut_file(whole, cuts), std::back_inserter(shards));
    databases_[file.path] = std::move(database);
  }
  return shards;
}

Result<std::unique_ptr<ShardReader>> DictdSource::open(const ShardInfo& shard) {
  CONCLAVE_ASSIGN(const datakit::FileShard* found, shards_.find(shard.id));
  const datakit::FileEntry& file = found->files.front();
  const Database& database = databases_.at(file.path);
  CONCLAVE_ASSIGN(auto body, open_body(database.body));
  const auto count = static_cast<std::size_t>(found->end - found->begin);
  const auto entries = std::span(database.index.entries).subspan(static_cast<std::size_t>(found->begin), count);
  const std::int64_t malformed = found->begin == 0 ? database.index.malformed : 0; // counted once
  return std::unique_ptr<ShardReader>(
      std::make_unique<DictdReader>(file.id, entries, found->begin, malformed, std::move(body), options_));
}

} // namespace conclave::dictd
