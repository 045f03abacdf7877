// filter/url: drops texts by the URL that they come from.

#include "block_list.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::url {
namespace {

struct Options {
  std::vector<Path> hosts, urls, words, soft_words, parts;
  Count max_soft_words = 1;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("hosts", &Options::hosts)
      .doc("Files of hosts, an entry a line; each stands for all hosts below it, too.")
      .opt("urls", &Options::urls)
      .doc("Files of whole URLs.")
      .opt("words", &Options::words)
      .doc("Files of words: one of them in a URL drops the text.")
      .opt("soft_words", &Options::soft_words)
      .doc("Files of words of which it takes more than `max_soft_words`.")
      .opt("parts", &Options::parts)
      .doc("Files of what may stand nowhere in a URL, inside of a word or across several.")
      .opt("max_soft_words", &Options::max_soft_words)
      .at_least(0)
      .affects(Affects::selection)
      .doc("Different soft words that are let pass.")
      .validate([](const Options& o, OptionReport& report) {
        if (o.hosts.empty() && o.urls.empty() && o.words.empty() && o.soft_words.empty() && o.parts.empty())
          report.warning("hosts", "there is no list at all, so nothing is dropped",
                         "name a file for one of hosts, urls, words, soft_words or parts");
      })
      .build();
}

std::vector<std::string> paths_of(const std::vector<Path>& paths) {
  std::vector<std::string> values;
  for (const Path& path : paths) values.push_back(path.value);
  return values;
}

enum Column : std::size_t { host, whole, word, part, soft_words };

class UrlFilter final : public Filter {
 public:
  static Result<std::shared_ptr<UrlFilter>> make(HostContext&, const Options& o) {
    CONCLAVE_ASSIGN(BlockList list, BlockList::load({paths_of(o.hosts), paths_of(o.urls), paths_of(o.words),
                                                     paths_of(o.soft_words), paths_of(o.parts)}));
    return std::make_shared<UrlFilter>(o, std::move(list));
  }
  UrlFilter(const Options& options, BlockList list) : max_soft_words_(options.max_soft_words), list_(std::move(list)) {}

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    return {{"host", ColumnType::integer, "1: the host, or one above it, is on the list"},
            {"url", ColumnType::integer, "1: the URL is on the list"},
            {"word", ColumnType::integer, "1: it holds a word of the list"},
            {"part", ColumnType::integer, "1: it holds a part of the list"},
            {"soft_words", ColumnType::integer, "different soft words in it"}};
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      const Finding found = list_.find_in(documents[row].url);
      writer.set(row, host, std::int64_t{found.host});
      writer.set(row, whole, std::int64_t{found.url});
      writer.set(row, word, std::int64_t{found.word});
      writer.set(row, part, std::int64_t{found.part});
      writer.set(row, soft_words, std::int64_t{found.soft_words});
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    if (row.integer(host) != 0) return Verdict::drop("host");
    if (row.integer(whole) != 0) return Verdict::drop("url");
    if (row.integer(word) != 0) return Verdict::drop("word");
    if (row.integer(soft_words) > max_soft_words_) return Verdict::drop("soft-words");
    if (row.integer(part) != 0) return Verdict::drop("part");
    return Verdict::keep();
  }

  [[nodiscard]] std::string inputs() const override { return list_.digest(); }

 private:
  std::int64_t max_soft_words_;
  BlockList list_;
};

} // namespace
} // namespace conclave::url

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::url::UrlFilter, conclave::url::Options>(
    {.id = "filter/url",
     .version = "1.0.0",
     .output_revision = 1,
     .summary = "Drops texts by the URL that they come from",
     .licence = "MIT"},
    conclave::url::table()))
