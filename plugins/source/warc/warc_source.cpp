// source/warc: see warc_source.hpp.

#include "warc_source.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "conclave/datakit/byte_stream.hpp"
#include "language.hpp"
#include "page.hpp"
#include "records.hpp"

namespace conclave::warc {
namespace {

constexpr std::int64_t shard_bytes = 64 << 20;
constexpr int most_reports = 10; // of damaged records that are named; the others are counted
constexpr std::array known_types = {"response", "resource", "conversion"};

class WarcReader final : public ShardReader {
 public:
  using Report = std::function<void(const std::string& path, std::int64_t, std::int64_t, const std::string&)>;

  WarcReader(const datakit::FileShard& shard, const WarcOptions& options, Report report)
      : shard_(shard),
        types_(options.types),
        rule_{static_cast<std::size_t>(options.min_text.value), static_cast<std::size_t>(options.max_document.value)},
        report_(std::move(report)) {}

  Result<bool> next(RawDocument& out) override {
    out.clear();
    for (;;) {
      if (!records_) {
        if (file_ == shard_.files.size()) return false;
        CONCLAVE_RETURN_IF_ERROR(open_file(shard_.files[file_].path));
      }
      CONCLAVE_ASSIGN(const bool more, records_->next(record_));
      if (!more) {
        records_.reset();
        ++file_;
        continue;
      }
      if (std::ranges::find(types_, record_.type) == types_.end()) continue;
      const PageKind kind = page_text(record_, rule_, out.text);
      skipped_ += kind == PageKind::unusable;
      if (kind != PageKind::text) continue;
      out.id = shard_.files[file_].id + "@" + std::to_string(record_.member);
      if (record_.position > 0) out.id += "+" + std::to_string(record_.position);
      out.url = record_.target_uri;
      out.language = language_tag(record_.language);
      return true;
    }
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  Status open_file(const std::string& path) {
    CONCLAVE_ASSIGN(auto members, open_members(path, shard_.begin, shard_.end));
    records_ =
        std::make_unique<Records>(std::move(members), rule_.max_document,
                                  [this, &path](std::int64_t member, std::int64_t position, const std::string& why) {
                                    ++skipped_;
                                    report_(path, member, position, why);
                                  });
    return {};
  }

  const datakit::FileShard& shard_; // of the source, which outlives its readers
  std::vector<std::string> types_;
  PageRule rule_;
  Report report_;
  std::unique_ptr<Records> records_;
  Record record_;
  std::size_t file_ = 0;
  std::int64_t skipped_ = 0;
};

/// Big gzip files in parts, each of which begins at a member; the others together. Plain files are not cut: a record may
/// hold a whole archive, and nothing in it says so.
Result<std::vector<datakit::FileShard>> list(const WarcOptions& options) {
  CONCLAVE_ASSIGN(auto files, datakit::list_files(options));
  std::vector<datakit::FileShard> shards;
  std::vector<datakit::FileEntry> others;
  for (datakit::FileEntry& file : files) {
    const std::int64_t parts = file.path.ends_with(".gz") ? file.bytes / shard_bytes : 0;
    if (parts < 2) {
      others.push_back(std::move(file));
      continue;
    }
    std::vector<std::int64_t> cuts;
    for (std::int64_t i = 0; i < parts; ++i) cuts.push_back(i * shard_bytes);
    cuts.push_back(file.bytes);
    std::ranges::move(datakit::cut_file(file, cuts), std::back_inserter(shards));
  }
  std::ranges::move(datakit::group_files(std::move(others), shard_bytes), std::back_inserter(shards));
  return shards;
}

} // namespace

OptionTable warc_options() {
  OptionTableBuilder<WarcOptions> builder;
  datakit::add_file_options(builder);
  return builder.opt("types", &WarcOptions::types)
      .doc(
          "Records that become documents: response (a page as its server sent it), resource (a page alone), conversion "
          "(extracted text, as WET files hold it).")
      .opt("min_text", &WarcOptions::min_text)
      .range(0, 1 << 20)
      .doc("An HTML page with less text is skipped.")
      .opt("max_document", &WarcOptions::max_document)
      .range(1024, 1 << 30)
      .doc("A record with a longer body is skipped; a reader holds about twice as much in memory.")
      .validate([](const WarcOptions& options, OptionReport& report) {
        for (const std::string& type : options.types)
          if (std::ranges::find(known_types, type) == known_types.end())
            report.error("types", "records of type " + type + " hold no text",
                         "choose from response, resource, conversion");
        if (options.types.empty()) report.error("types", "it is empty", "name at least one type, e.g. response");
      })
      .build();
}

WarcSource::WarcSource(HostContext& host, const WarcOptions& options)
    : host_(host), options_(options), shards_([this] { return list(options_); }) {}

void WarcSource::report(const std::string& path, std::int64_t member, std::int64_t position, const std::string& why) {
  const int number = reported_.fetch_add(1);
  if (number > most_reports) return;
  std::string text = path + ": passed over what begins at byte " + std::to_string(member);
  if (position > 0) text += ", there at byte " + std::to_string(position) + " before compression";
  text += ": " + why;
  if (number == most_reports) text = "more records were passed over; they are counted and no longer named";
  host_.log(LogLevel::warning, text);
}

Result<std::unique_ptr<ShardReader>> WarcSource::open(const ShardInfo& shard) {
  CONCLAVE_ASSIGN(const datakit::FileShard* found, shards_.find(shard.id));
  return std::unique_ptr<ShardReader>(
      std::make_unique<WarcReader>(*found, options_,
                                   [this](const std::string& path, std::int64_t member, std::int64_t position,
                                          const std::string& why) { report(path, member, position, why); }));
}

} // namespace conclave::warc
