// source/jsonl: see jsonl_source.hpp.

#include "jsonl_source.hpp"

#include <simdjson.h>

#include <string_view>
#include <utility>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::jsonl {
namespace {

constexpr std::int64_t shard_bytes = 64 << 20;

/// `a.b.c` as its parts; none for a field that is not asked for. An empty part means a field without a name, which JSON
/// allows.
std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts;
  if (path.empty()) return parts;
  std::size_t begin = 0;
  for (std::size_t dot; (dot = path.find('.', begin)) != std::string::npos; begin = dot + 1)
    parts.push_back(path.substr(begin, dot - begin));
  parts.push_back(path.substr(begin));
  return parts;
}

/// The field of that path below an object; an error code when it is not there.
simdjson::simdjson_result<simdjson::dom::element> field(simdjson::dom::element from,
                                                        const std::vector<std::string>& path) {
  simdjson::simdjson_result<simdjson::dom::element> at(simdjson::dom::element{from});
  for (const std::string& part : path) at = at[part];
  return at;
}

class JsonlReader final : public ShardReader {
 public:
  JsonlReader(const datakit::FileShard& shard, const JsonlOptions& options)
      : shard_(shard),
        text_path_(split_path(options.text)),
        id_path_(split_path(options.id)),
        url_path_(split_path(options.url)),
        language_path_(split_path(options.language)),
        max_line_(static_cast<std::size_t>(options.max_line.value)) {}

  Result<bool> next(RawDocument& out) override {
    out.clear();
    for (;;) {
      if (!lines_) {
        if (file_ == shard_.files.size()) return false;
        datakit::ByteRange range;
        if (shard_.end >= 0) range = {shard_.begin, shard_.end};
        CONCLAVE_ASSIGN(auto stream, datakit::open_bytes(shard_.files[file_].path, range));
        lines_.emplace(std::move(stream), max_line_);
      }
      CONCLAVE_ASSIGN(const auto found, lines_->next(line_));
      if (found == datakit::LineReader::Line::none) {
        lines_.reset();
        ++file_;
        continue;
      }
      if (found == datakit::LineReader::Line::too_long) {
        ++skipped_;
        continue;
      }
      if (line_.find_first_not_of(" \t\r") == std::string::npos) continue;
      if (parse(out)) return true;
      ++skipped_;
    }
  }
  [[nodiscard]] std::int64_t skipped() const override { return skipped_; }

 private:
  // The DOM interface and not On-Demand: the latter checks only what it passes, and would take the good half of a line
  // that a crash cut or two writers mixed.
  bool parse(RawDocument& out) {
    line_.reserve(line_.size() + simdjson::SIMDJSON_PADDING);
    simdjson::dom::element root;
    if (parser_.parse(line_.data(), line_.size(), false).get(root) != simdjson::SUCCESS) return false;
    std::string_view value;
    if (field(root, text_path_).get(value) != simdjson::SUCCESS) return false;
    out.text = value;
    if (!url_path_.empty() && field(root, url_path_).get(value) == simdjson::SUCCESS) out.url = value;
    if (!language_path_.empty() && field(root, language_path_).get(value) == simdjson::SUCCESS) out.language = value;
    if (!id_path_.empty() && read_id(root, out.id)) return true;
    out.id = shard_.files[file_].id;
    if (shard_.begin > 0) out.id += "@" + std::to_string(shard_.begin);
    out.id += "#" + std::to_string(lines_->count());
    return true;
  }

  bool read_id(simdjson::dom::element root, std::string& id) const {
    const auto found = field(root, id_path_);
    std::string_view name;
    if (found.get(name) == simdjson::SUCCESS) {
      id = name;
      return !id.empty();
    }
    std::int64_t number = 0;
    if (found.get(number) != simdjson::SUCCESS) return false;
    id = std::to_string(number);
    return true;
  }

  const datakit::FileShard& shard_; // of the source, which outlives its readers
  std::vector<std::string> text_path_, id_path_, url_path_, language_path_;
  std::size_t max_line_;
  std::optional<datakit::LineReader> lines_;
  simdjson::dom::parser parser_;
  std::string line_;
  std::size_t file_ = 0;
  std::int64_t skipped_ = 0;
};

} // namespace

OptionTable jsonl_options() {
  OptionTableBuilder<JsonlOptions> builder;
  datakit::add_file_options(builder);
  return builder.opt("text", &JsonlOptions::text)
      .doc("The field that holds the text; `a.b` for a field within a field.")
      .opt("id", &JsonlOptions::id)
      .affects(Affects::naming)
      .doc(
          "The field that holds the document's id (text or an integer); where it is empty or missing the id is "
          "`file#line`.")
      .opt("url", &JsonlOptions::url)
      .doc("The field that holds the address at which the text was published, for filters that judge it.")
      .opt("language", &JsonlOptions::language)
      .doc("The field that holds the text's language: a tag such as `en` or `zh-Hant`, `code:go` for source code.")
      .opt("max_line", &JsonlOptions::max_line)
      .range(1024, 4e9)
      .doc("A longer line is skipped.")
      .validate([](const JsonlOptions& options, OptionReport& report) {
        if (options.text.empty()) report.error("text", "it is empty", "name the field that holds the text, e.g. text");
      })
      .build();
}

JsonlSource::JsonlSource(HostContext&, const JsonlOptions& options)
    : options_(options), shards_([this]() -> Result<std::vector<datakit::FileShard>> {
        CONCLAVE_ASSIGN(auto files, datakit::list_files(options_));
        return datakit::cut_or_group(std::move(files), shard_bytes, shard_bytes / 4, "\n");
      }) {}

Result<std::unique_ptr<ShardReader>> JsonlSource::open(const ShardInfo& shard) {
  CONCLAVE_ASSIGN(const datakit::FileShard* found, shards_.find(shard.id));
  return std::unique_ptr<ShardReader>(std::make_unique<JsonlReader>(*found, options_));
}

} // namespace conclave::jsonl
