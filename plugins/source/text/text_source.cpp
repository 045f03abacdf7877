// source/text: see text_source.hpp.

#include "text_source.hpp"

#include <utility>

#include "splitter.hpp"

namespace conclave::text {
namespace {

constexpr std::int64_t shard_bytes = 16 << 20;

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos; }

class TextReader final : public ShardReader {
 public:
  TextReader(const datakit::FileShard& shard, SplitRule rule, bool number_all)
      : shard_(shard), rule_(rule), number_all_(number_all) {}

  Result<bool> next(RawDocument& out) override {
    out.clear();
    for (;;) {
      if (!splitter_) {
        if (file_ == shard_.files.size()) return false;
        datakit::ByteRange range;
        if (shard_.end >= 0) range = {shard_.begin, shard_.end};
        CONCLAVE_ASSIGN(auto stream, datakit::open_bytes(shard_.files[file_].path, range));
        splitter_ = std::make_unique<Splitter>(std::move(stream), rule_);
        part_ = 0;
      }
      CONCLAVE_ASSIGN(const bool more, splitter_->next(out.text));
      if (splitter_->looks_binary()) ++skipped_;
      if (!more || splitter_->looks_binary()) {
        splitter_.reset();
        ++file_;
        continue;
      }
      const std::int64_t part = part_++;
      if (is_blank(out.text)) continue;
      // A file that is one document keeps its plain name.
      out.id = shard_.files[file_].id;
      if (shard_.begin > 0) out.id += "@" + std::to_string(shard_.begin);
      if (number_all_ || part > 0) out.id += "#" + std::to_string(part);
      return true;
    }
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  const datakit::FileShard& shard_; // of the source, which outlives its readers
  SplitRule rule_;
  bool number_all_;
  std::unique_ptr<Splitter> splitter_;
  std::size_t file_ = 0;
  std::int64_t part_ = 0, skipped_ = 0;
};

} // namespace

OptionTable text_options() {
  OptionTableBuilder<TextOptions> builder;
  datakit::add_file_options(builder);
  return builder
      .choice("per_document", &TextOptions::per_document,
              {{"file", PerDocument::file}, {"paragraphs", PerDocument::paragraphs}})
      .doc(
          "file: one document a file (cut when above max_document). paragraphs: blocks between blank lines, joined "
          "until "
          "they reach paragraphs_size.")
      .opt("paragraphs_size", &TextOptions::paragraphs_size)
      .range(1, 1 << 30)
      .doc("With per_document: paragraphs, a document ends at the first blank line after so many bytes.")
      .opt("max_document", &TextOptions::max_document)
      .range(64, 1 << 30)
      .doc("A longer text is cut at a blank line, else at a line's end, else between two characters.")
      .choice("encoding", &TextOptions::encoding, {{"utf-8", Encoding::utf8}, {"windows-1252", Encoding::windows_1252}})
      .doc(
          "How the files are written; Latin-1 is read as windows-1252, which contains it. Bytes that are no UTF-8 are "
          "left "
          "to data.invalid_utf8.")
      .validate([](const TextOptions& options, OptionReport& report) {
        if (options.per_document == PerDocument::paragraphs && options.paragraphs_size > options.max_document)
          report.error("paragraphs_size", "it is above max_document", "lower it or raise max_document");
      })
      .build();
}

TextSource::TextSource(HostContext&, const TextOptions& options)
    : options_(options), shards_([this] { return list(); }) {}

Result<std::vector<datakit::FileShard>> TextSource::list() const {
  CONCLAVE_ASSIGN(auto files, datakit::list_files(options_));
  if (options_.per_document == PerDocument::file) return datakit::group_files(std::move(files), shard_bytes);
  // Where documents are paragraphs anyway, a big plain file is read by several workers.
  return datakit::cut_or_group(std::move(files), shard_bytes, shard_bytes, "\n\n");
}

Result<std::unique_ptr<ShardReader>> TextSource::open(const ShardInfo& shard) {
  CONCLAVE_ASSIGN(const datakit::FileShard* found, shards_.find(shard.id));
  const bool paragraphs = options_.per_document == PerDocument::paragraphs;
  const auto maximum = static_cast<std::size_t>(options_.max_document.value);
  SplitRule rule{paragraphs ? static_cast<std::size_t>(options_.paragraphs_size.value) : maximum, maximum,
                 options_.encoding == Encoding::windows_1252};
  return std::unique_ptr<ShardReader>(std::make_unique<TextReader>(*found, rule, paragraphs));
}

} // namespace conclave::text
