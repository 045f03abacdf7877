// filter/fasttext: keeps or drops texts by the labels that a fastText classifier gives them: quality, topic, language.
//
// The library is fastText's own, so a model gives here what it gives there. A text is classified whole, its line ends
// as spaces, as fastText takes an example to be one line.

#include <fasttext/fasttext.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <istream>
#include <limits>
#include <map>
#include <mutex>
#include <streambuf>

#include "conclave/datakit/byte_stream.hpp"
#include "conclave/datakit/files.hpp"
#include "conclave/filter.hpp"
#include "conclave/host.hpp"

namespace conclave::fasttext_filter {
namespace {

struct Options {
  Path model;
  std::map<std::string, double> keep, drop;
};

OptionTable table() {
  return OptionTableBuilder<Options>()
      .opt("model", &Options::model)
      .required()
      .doc("A supervised model of fastText: .bin, or quantised .ftz.")
      .opt("keep", &Options::keep)
      .range(0, 1)
      .affects(Affects::selection)
      .doc(
          "Labels and the least score with which one of them keeps a text; empty: nothing is asked for. Labels are "
          "written "
          "without `__label__`.")
      .opt("drop", &Options::drop)
      .range(0, 1)
      .affects(Affects::selection)
      .doc("Labels and the least score with which one of them drops a text.")
      .build();
}

constexpr std::string_view label_prefix = "__label__";
/// So many of the best labels are kept as columns. A label beyond them has a score of at most 1 / (kept_labels + 1).
constexpr std::size_t kept_labels = 5;

std::uint64_t label_key(std::string_view label) { return XXH3_64bits(label.data(), label.size()); }

/// A string as a stream, without a copy.
class StringBuffer final : public std::streambuf {
 public:
  explicit StringBuffer(std::string& text) { setg(text.data(), text.data(), text.data() + text.size()); }
};

struct Model {
  fasttext::FastText classifier;
  std::string digest;
};

/// One model for all workers' instances: some take a gigabyte.
Result<std::shared_ptr<const Model>> load(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const Model>> loaded; // by digest
  CONCLAVE_ASSIGN(auto stream, datakit::open_stored_bytes(path));
  std::string bytes;
  CONCLAVE_RETURN_IF_ERROR(datakit::read_all(*stream, std::numeric_limits<std::size_t>::max(), bytes).status());
  const std::string digest = datakit::hash_hex(bytes);
  const std::lock_guard lock(mutex);
  if (auto found = loaded[digest].lock()) return found;
  auto model = std::make_shared<Model>();
  model->digest = digest;
  try {
    StringBuffer buffer(bytes);
    std::istream in(&buffer);
    in.exceptions(std::ios::eofbit | std::ios::failbit | std::ios::badbit);
    std::int32_t head[2] = {}; // fastText checks them in the other overload alone
    in.read(reinterpret_cast<char*>(head), sizeof head);
    if (head[0] != 793712314 || head[1] > 12)
      return invalid("it is no model of fastText", "give a .bin or .ftz file", path);
    model->classifier.loadModel(in);
  } catch (const std::exception& error) {
    return invalid(std::string("the model cannot be read: ") + error.what(), "give a whole .bin or .ftz file", path);
  }
  if (model->classifier.getArgs().model != fasttext::model_name::sup)
    return invalid("the model classifies nothing: it holds word vectors", "give a supervised model", path);
  loaded[digest] = model;
  return std::shared_ptr<const Model>(std::move(model));
}

/// Labels that the model does not have, and scores too low to be told from the columns.
Status check_labels(const std::map<std::string, double>& scores, const Model& model, const std::string& path) {
  const auto dictionary = model.classifier.getDictionary();
  const auto labels = static_cast<std::size_t>(dictionary->nlabels());
  for (const auto& [label, score] : scores) {
    if (model.classifier.getLabelId(std::string(label_prefix) + label) < 0)
      return invalid("the model has no label '" + label + "'", "its first is '" + dictionary->getLabel(0) + "'", path);
    if (labels > kept_labels && score * (kept_labels + 1) <= 1)
      return invalid("the score of label '" + label + "' is too low: of " + std::to_string(labels) +
                         " labels only the best " + std::to_string(kept_labels) + " are kept",
                     "give a score above 1/" + std::to_string(kept_labels + 1), path);
  }
  return {};
}

class FastTextFilter final : public Filter {
 public:
  static Result<std::shared_ptr<FastTextFilter>> make(HostContext&, const Options& options) {
    CONCLAVE_ASSIGN(auto model, load(options.model.value));
    CONCLAVE_RETURN_IF_ERROR(check_labels(options.keep, *model, options.model.value));
    CONCLAVE_RETURN_IF_ERROR(check_labels(options.drop, *model, options.model.value));
    return std::make_shared<FastTextFilter>(options, std::move(model));
  }
  FastTextFilter(const Options& options, std::shared_ptr<const Model> model) : model_(std::move(model)) {
    for (const auto& [label, score] : options.keep) keep_.emplace(label_key(label), score);
    for (const auto& [label, score] : options.drop) drop_.emplace(label_key(label), score);
  }

  [[nodiscard]] std::vector<ColumnSpec> columns() const override {
    std::vector<ColumnSpec> specs;
    for (std::size_t i = 1; i <= kept_labels; ++i) {
      specs.push_back({"label_" + std::to_string(i), ColumnType::bits64, "hash of a label; 0: none"});
      specs.push_back({"score_" + std::to_string(i), ColumnType::real, "its score"});
    }
    return specs;
  }

  void annotate(std::span<const Document> documents, ColumnWriter& writer) override {
    for (std::size_t row = 0; row < documents.size(); ++row) {
      text_.assign(documents[row].text);
      std::ranges::replace(text_, '\n', ' ');
      text_ += '\n'; // the end of the example
      StringBuffer buffer(text_);
      std::istream in(&buffer);
      std::vector<std::pair<fasttext::real, std::string>> found;
      model_->classifier.predictLine(in, found, static_cast<std::int32_t>(kept_labels), 0);
      for (std::size_t i = 0; i < kept_labels; ++i) {
        const bool there = i < found.size();
        std::string_view label = there ? std::string_view(found[i].second) : std::string_view();
        if (label.starts_with(label_prefix)) label.remove_prefix(label_prefix.size());
        writer.set_bits(row, 2 * i, there ? label_key(label) : 0);
        writer.set(row, 2 * i + 1, there ? static_cast<double>(found[i].first) : 0.0);
      }
    }
  }

  [[nodiscard]] Verdict select(const ColumnRow& row) const override {
    if (reaches(row, drop_)) return Verdict::drop("unwanted-label");
    if (!keep_.empty() && !reaches(row, keep_)) return Verdict::drop("no-wanted-label");
    return Verdict::keep();
  }

  [[nodiscard]] std::string inputs() const override { return model_->digest; }

 private:
  using Scores = std::map<std::uint64_t, double>; // by label_key()
  static bool reaches(const ColumnRow& row, const Scores& scores) {
    for (std::size_t i = 0; i < kept_labels; ++i) {
      const auto wanted = scores.find(row.bits(2 * i));
      if (wanted != scores.end() && row.real(2 * i + 1) >= wanted->second) return true;
    }
    return false;
  }

  std::shared_ptr<const Model> model_;
  Scores keep_, drop_;
  std::string text_;
};

} // namespace
} // namespace conclave::fasttext_filter

CONCLAVE_PLUGINS(
    conclave::describe_plugin<conclave::fasttext_filter::FastTextFilter, conclave::fasttext_filter::Options>(
        {.id = "filter/fasttext",
         .version = "1.0.0",
         .output_revision = 1,
         .summary = "Keeps or drops texts by the labels that a fastText classifier gives them",
         .licence = "MIT"},
        conclave::fasttext_filter::table()))
