// source/html: see html_source.hpp.

#include "html_source.hpp"

#include <utility>

#include "conclave/datakit/byte_stream.hpp"
#include "conclave/datakit/html.hpp"

namespace conclave::html {
namespace {

constexpr std::int64_t shard_bytes = 8 << 20;

class HtmlReader final : public ShardReader {
 public:
  HtmlReader(const datakit::FileShard& shard, const HtmlOptions& options)
      : shard_(shard), max_page_(static_cast<std::size_t>(options.max_page.value)) {
    rule_.sections = options.split == Split::sections;
    rule_.min_text = static_cast<std::size_t>(options.min_text.value);
  }

  Result<bool> next(RawDocument& out) override {
    out.clear();
    while (section_ == texts_.size()) {
      if (file_ == shard_.files.size()) return false;
      CONCLAVE_RETURN_IF_ERROR(read_page(shard_.files[file_].path));
      ++file_;
    }
    out.id = shard_.files[file_ - 1].id;
    if (section_ > 0) out.id += "#" + std::to_string(section_);
    out.text = std::move(texts_[section_++]);
    return true;
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  Status read_page(const std::string& path) {
    texts_.clear();
    section_ = 0;
    CONCLAVE_ASSIGN(const auto stream, datakit::open_bytes(path));
    CONCLAVE_ASSIGN(const bool complete, datakit::read_all(*stream, max_page_, page_));
    if (complete) {
      datakit::html::to_utf8(page_, {});
      const bool binary = page_.find('\0') != std::string::npos;
      if (auto texts = binary ? std::nullopt : datakit::html::extract(page_, rule_)) texts_ = std::move(*texts);
    }
    if (texts_.empty()) ++skipped_;
    return {};
  }

  const datakit::FileShard& shard_; // of the source, which outlives its readers
  std::size_t max_page_;
  datakit::html::ExtractRule rule_;
  std::string page_;
  std::vector<std::string> texts_;
  std::size_t file_ = 0, section_ = 0;
  std::int64_t skipped_ = 0;
};

} // namespace

OptionTable html_options() {
  OptionTableBuilder<HtmlOptions> builder;
  datakit::add_file_options(builder);
  return builder.choice("split", &HtmlOptions::split, {{"file", Split::file}, {"sections", Split::sections}})
      .doc("file: one document a page. sections: a new document at each h1 and h2, for long manuals.")
      .opt("min_text", &HtmlOptions::min_text)
      .range(0, 1 << 20)
      .doc("A section with less text joins the next; a page with less is skipped.")
      .opt("max_page", &HtmlOptions::max_page)
      .range(1024, 1 << 30)
      .doc("A longer file is skipped.")
      .build();
}

HtmlSource::HtmlSource(HostContext&, const HtmlOptions& options)
    : options_(options), shards_([this]() -> Result<std::vector<datakit::FileShard>> {
        CONCLAVE_ASSIGN(auto files, datakit::list_files(options_));
        return datakit::group_files(std::move(files), shard_bytes);
      }) {}

Result<std::unique_ptr<ShardReader>> HtmlSource::open(const ShardInfo& shard) {
  CONCLAVE_ASSIGN(const datakit::FileShard* found, shards_.find(shard.id));
  return std::unique_ptr<ShardReader>(std::make_unique<HtmlReader>(*found, options_));
}

} // namespace conclave::html
