// source/parquet: see parquet_source.hpp.

#include "parquet_source.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <utility>

#include "table.hpp"

namespace conclave::parquet_source {
namespace {

constexpr std::int64_t shard_bytes = 64 << 20;

class ParquetReader final : public ShardReader {
 public:
  ParquetReader(const datakit::FileShard& shard, const ParquetOptions& options) : shard_(shard), options_(options) {}

  Result<bool> next(RawDocument& out) override {
    out.clear();
    for (;;) {
      if (!table_) {
        if (file_ == shard_.files.size()) return false;
        CONCLAVE_RETURN_IF_ERROR(open_file());
      }
      CONCLAVE_ASSIGN(const bool more, table_->next());
      if (!more) {
        table_.reset();
        ++file_;
        continue;
      }
      auto text = table_->text(0);
      if (!text) {
        ++skipped_;
        continue;
      }
      out.text = std::move(*text);
      out.id = table_->text(1).value_or("");
      out.url = table_->text(2).value_or("");
      out.language = table_->text(3).value_or("");
      if (out.id.empty()) out.id = shard_.files[file_].id + "#" + std::to_string(table_->row());
      return true;
    }
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  Status open_file() {
    const int last = shard_.end < 0 ? std::numeric_limits<int>::max() : static_cast<int>(shard_.end);
    CONCLAVE_ASSIGN(table_, open_table(shard_.files[file_].path, static_cast<int>(shard_.begin), last,
                                       {options_.text, options_.id, options_.url, options_.language}));
    return {};
  }

  const datakit::FileShard& shard_; // of the source, which outlives its readers
  const ParquetOptions& options_;   // too
  std::unique_ptr<Table> table_;
  std::size_t file_ = 0;
  std::int64_t skipped_ = 0;
};

/// Big files in runs of row groups; the others together.
Result<std::vector<datakit::FileShard>> list(const ParquetOptions& options) {
  CONCLAVE_ASSIGN(auto files, datakit::list_files(options));
  std::vector<datakit::FileShard> shards;
  std::vector<datakit::FileEntry> others;
  for (datakit::FileEntry& file : files) {
    if (file.bytes <= shard_bytes) {
      others.push_back(std::move(file));
      continue;
    }
    CONCLAVE_ASSIGN(const Layout layout, read_layout(file.path));
    std::vector<std::int64_t> cuts{0};
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < layout.bytes.size(); ++i) {
      bytes += layout.bytes[i];
      if (bytes < shard_bytes && i + 1 < layout.bytes.size()) continue;
      cuts.push_back(static_cast<std::int64_t>(i) + 1);
      bytes = 0;
    }
    std::ranges::move(datakit::cut_file(file, cuts), std::back_inserter(shards));
  }
  std::ranges::move(datakit::group_files(std::move(others), shard_bytes), std::back_inserter(shards));
  return shards;
}

} // namespace

OptionTable parquet_options() {
  OptionTableBuilder<ParquetOptions> builder;
  datakit::add_file_options(builder);
  return builder.opt("text", &ParquetOptions::text)
      .doc("The column that holds the text; `a.b` for a field within a field. A row in which it is null is skipped.")
      .opt("id", &ParquetOptions::id)
      .affects(Affects::naming)
      .doc(
          "The column that holds the document's id (text or an integer); where it is empty or null the id is "
          "`file#row`.")
      .opt("url", &ParquetOptions::url)
      .doc("The column that holds the address at which the text was published, for filters that judge it.")
      .opt("language", &ParquetOptions::language)
      .doc("The column that holds the text's language: a tag such as `en` or `zh-Hant`, `code:go` for source code.")
      .validate([](const ParquetOptions& options, OptionReport& report) {
        if (options.text.empty()) report.error("text", "it is empty", "name the column that holds the text, e.g. text");
      })
      .build();
}

ParquetSource::ParquetSource(HostContext&, const ParquetOptions& options)
    : options_(options), shards_([this] { return list(options_); }) {}

Result<std::unique_ptr<ShardReader>> ParquetSource::open(const ShardInfo& shard) {
  CONCLAVE_ASSIGN(const datakit::FileShard* found, shards_.find(shard.id));
  return std::unique_ptr<ShardReader>(std::make_unique<ParquetReader>(*found, options_));
}

} // namespace conclave::parquet_source
