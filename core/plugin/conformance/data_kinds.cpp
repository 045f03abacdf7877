// Cases of source, filter and tokenizer: what the prepare stages rely on.

#include <algorithm>
#include <filesystem>
#include <set>

#include "conclave/filter.hpp"
#include "conclave/source.hpp"
#include "conclave/testkit_data.hpp"
#include "conclave/tokenizer.hpp"
#include "plugin/conformance/cases.hpp"

namespace conclave::conformance {
namespace {

testkit::FakeHost::Settings prepare_phase(const Subject& subject) {
  return {.phase = Phase::prepare, .plugin_id = subject.descriptor.info.id};
}

// ---- source ----

using Documents = std::vector<RawDocument>;

std::vector<ShardInfo> shards_of(Source& source) { return require_ok(source.shards(), "shards()"); }

/// At most `most` documents of a shard.
Documents read_some(Source& source, const ShardInfo& shard, std::size_t most) {
  const auto reader = require_ok(source.open(shard), "open(" + shard.id + ")");
  require(reader != nullptr, "open(" + shard.id + ") returned null");
  Documents documents;
  // Whatever lay there before must not show: the host hands the same object over and over.
  RawDocument document{"left over", "left over", "left over", "left over"};
  while (documents.size() < most) {
    if (!require_ok(reader->next(document), "next() of " + shard.id)) {
      require(!require_ok(reader->next(document), "next() after the end of " + shard.id),
              "next() goes on after it said false");
      break;
    }
    documents.push_back(document);
  }
  require(reader->skipped() >= 0, "skipped() is negative");
  return documents;
}

void shards_are_stable(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto one = subject.make<Source>(host), two = subject.make<Source>(host);
  const auto first = shards_of(*one);
  require(!first.empty(), "no shard and no error: no match must be an error that names the pattern");
  std::set<std::string> ids;
  for (const ShardInfo& shard : first) {
    require(!shard.id.empty(), "a shard has no id");
    require(!shard.digest.empty(), "shard " + shard.id + " has no digest");
    require(ids.insert(shard.id).second, "two shards are called " + shard.id);
  }
  for (const auto& again : {shards_of(*one), shards_of(*two)}) {
    require(again.size() == first.size(), "shards() gives another number of shards the second time");
    for (std::size_t i = 0; i < first.size(); ++i) {
      require(again[i].id == first[i].id, "shards() gives another order the second time");
      require(again[i].digest == first[i].digest, "shard " + first[i].id + " has another digest the second time");
    }
  }
}

void reading_is_repeatable(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto one = subject.make<Source>(host), two = subject.make<Source>(host);
  const auto shards = shards_of(*one);
  constexpr std::size_t shards_read = 4, documents_read = 1000;
  std::vector<Documents> read;
  for (std::size_t i = 0; i < std::min(shards.size(), shards_read); ++i)
    read.push_back(read_some(*one, shards[i], documents_read));
  for (std::size_t i = read.size(); i-- > 0;) // another order, another instance: a shard depends on itself alone
    require(read_some(*two, shards[i], documents_read) == read[i],
            "shard " + shards[i].id + " reads differently the second time");
}

void documents_have_ids(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto source = subject.make<Source>(host);
  const auto shards = shards_of(*source);
  require(!shards.empty(), "no shard and no error: no match must be an error that names the pattern");
  std::set<std::string> ids;
  for (const auto& [id, text, url, language] : read_some(*source, shards.front(), 1000)) {
    require(!id.empty(), "a document of " + shards.front().id + " has no id");
    require(ids.insert(id).second, "two documents of " + shards.front().id + " are called " + id);
  }
}

// ---- filter ----

void columns_are_sane(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto one = subject.make<Filter>(host), two = subject.make<Filter>(host);
  const auto columns = one->columns(), again = two->columns();
  require(columns.size() == again.size(), "columns() differs between instances");
  std::set<std::string> names;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    require(!columns[i].name.empty(), "a column has no name");
    require(names.insert(columns[i].name).second, "two columns are called " + columns[i].name);
    require(columns[i].name == again[i].name && columns[i].type == again[i].type,
            "columns() differs between instances");
  }
}

void annotate_writes_every_cell(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  require(testkit::annotate(*subject.make<Filter>(host), sample_texts()).complete(),
          "annotate() leaves a column unwritten");
  const auto none = subject.make<Filter>(host);
  (void)testkit::annotate(*none, {}); // a batch may be empty
}

void annotate_is_pure(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto texts = sample_texts();
  const auto batch = subject.make<Filter>(host);
  const auto expected = testkit::annotate(*batch, texts);
  const auto require_same = [&](const testkit::MemoryColumns& columns, std::size_t row, std::size_t text,
                                const char* how) {
    require(columns.raw_row(row) == expected.raw_row(text),
            "document " + std::to_string(text) + " gets other columns " + how);
  };
  const auto again = testkit::annotate(*batch, texts);
  const auto reversed = testkit::annotate(*subject.make<Filter>(host), {texts.rbegin(), texts.rend()});
  const auto alone = subject.make<Filter>(host);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    require_same(again, i, i, "the second time");
    require_same(reversed, texts.size() - 1 - i, i, "in another order");
    require_same(testkit::annotate(*alone, {texts[i]}), 0, i, "in a batch of its own");
  }
}

void select_is_deterministic(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto one = subject.make<Filter>(host), two = subject.make<Filter>(host);
  const auto columns = testkit::annotate(*one, sample_texts());
  const auto reason = [&](const Filter& filter, std::size_t row) {
    const Verdict verdict = filter.select(columns.row(row));
    require(!verdict.reason || *verdict.reason, "a drop has an empty reason");
    return std::string(verdict.reason ? verdict.reason : "");
  };
  for (std::size_t row = 0; row < columns.rows(); ++row) {
    const std::string first = reason(*one, row);
    require(reason(*one, row) == first && reason(*two, row) == first,
            "select() changes its mind on document " + std::to_string(row));
  }
}

void equal_documents_meet(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto filter = subject.make<Filter>(host);
  const auto* dedup = dynamic_cast<const DedupFilter*>(filter.get());
  if (!dedup) throw CaseSkipped("it compares no documents with each other");
  require(dedup->reason() && *dedup->reason(), "reason() is empty");
  const std::string text = sample_texts()[3];
  const std::vector<std::string> texts = {text, sample_texts()[4], text};
  const auto columns = testkit::annotate(*filter, texts);
  std::vector<testkit::MemoryColumns::Row> rows;
  std::vector<std::vector<DedupKey>> keys(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    rows.push_back(columns.row(i));
    dedup->keys(rows[i], keys[i]);
    std::sort(keys[i].begin(), keys[i].end());
  }
  require(keys[0] == keys[2], "equal documents get different keys or values");
  if (dedup->select(rows[0]).reason || keys[0].empty()) throw CaseSkipped("it does not look at the sample text");
  for (const DedupKey& one : keys[0])
    for (const DedupKey& two : keys[1])
      require(dedup->same(one.value, two.value) == dedup->same(two.value, one.value), "same() is not symmetric");
}

void edits_are_pure(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto one = subject.make<Filter>(host), two = subject.make<Filter>(host);
  const auto* editor = dynamic_cast<const EditFilter*>(one.get());
  if (!editor) throw CaseSkipped("it edits no text");
  const auto& other = dynamic_cast<const EditFilter&>(*two);
  for (const std::string& text : sample_texts()) {
    const Document document{.id = "doc#0", .text = text};
    std::string first = "left from before", second;
    const bool changed = editor->edit(document, first);
    require(other.edit(document, second) == changed && (!changed || first == second),
            "edit() depends on more than the document for '" + text.substr(0, 60) + "'");
  }
}

// ---- tokenizer ----

std::shared_ptr<Tokenizer> trained(const Subject& subject, HostContext& host) {
  auto tokenizer = subject.make<Tokenizer>(host);
  if (!tokenizer->needs_training()) return tokenizer;
  const auto texts = sample_texts();
  std::size_t i = 0;
  const Status status = tokenizer->train([&](std::string& text) {
    if (i >= 20 * texts.size()) return false;
    text = texts[i % texts.size()] + (i >= texts.size() ? " " + std::to_string(i) : "");
    ++i;
    return true;
  });
  if (!status.ok() && !subject.given && status.error().code != Code::internal)
    throw CaseSkipped("it does not train on the sample with its defaults (" + status.error().what +
                      "): give options with --with '{...}'");
  require_ok(status, "train()");
  require(!tokenizer->needs_training(), "needs_training() is still true after train()");
  return tokenizer;
}

std::vector<std::int32_t> ids_of(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::int32_t> ids;
  require_ok(tokenizer.encode(text, ids), "encode()");
  return ids;
}

void decodes_what_it_encodes(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto tokenizer = trained(subject, host);
  require(ids_of(*tokenizer, "").empty(), "the empty text has tokens: special tokens are not encode()'s to add");
  for (const std::string& text : sample_texts()) {
    const auto ids = ids_of(*tokenizer, text);
    for (const std::int32_t id : ids)
      require(id >= 0 && id < tokenizer->vocabulary_size(),
              "id " + std::to_string(id) + " lies outside of the vocabulary");
    std::string back;
    require_ok(tokenizer->decode(ids.data(), ids.size(), back), "decode()");
    require(back == text, "decoding gives another text: '" + back.substr(0, 60) + "' for '" + text.substr(0, 60) + "'");
  }
}

void encode_appends(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto tokenizer = trained(subject, host);
  std::vector<std::int32_t> ids = {1, 2, 3};
  require_ok(tokenizer->encode("word", ids), "encode()");
  require(ids.size() > 3 && ids[0] == 1 && ids[2] == 3, "encode() does not append to what is there");
}

void special_tokens_fit(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto tokenizer = trained(subject, host);
  require(tokenizer->vocabulary_size() > 0, "vocabulary_size() is not above 0");
  const SpecialTokens special = tokenizer->special_tokens();
  for (const std::int32_t id : {special.beginning, special.end, special.padding, special.unknown})
    require(id >= -1 && id < tokenizer->vocabulary_size(),
            "special token " + std::to_string(id) + " lies outside of the vocabulary");
}

void survives_a_checkpoint(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const auto one = trained(subject, host), two = subject.make<Tokenizer>(host);
  require_ok(two->load(one->serialize()), "load(serialize())");
  require(!two->needs_training(), "needs_training() is still true after load()");
  require(one->vocabulary_size() == two->vocabulary_size(), "the vocabulary has another size after load()");
  for (const std::string& text : sample_texts())
    require(ids_of(*one, text) == ids_of(*two, text), "encode() differs after load()");
  require(two->serialize() == one->serialize(), "serialize() differs after load()");
}

void refuses_unfit_bytes(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  require(!subject.make<Tokenizer>(host)->load("\x01\x02 these are no tokenizer's bytes \xff").ok(),
          "load() takes any bytes");
}

void training_is_deterministic(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  if (!subject.make<Tokenizer>(host)->needs_training()) throw CaseSkipped("it needs no training");
  require(trained(subject, host)->serialize() == trained(subject, host)->serialize(),
          "two trainings on the same texts differ");
}

void writes_its_files(const Subject& subject) {
  testkit::FakeHost host(prepare_phase(subject));
  const testkit::TemporaryDir dir;
  require_ok(trained(subject, host)->write(dir.path().string()), "write()");
  require(!std::filesystem::is_empty(dir.path()), "write() wrote nothing");
}

} // namespace

std::vector<Case> source_cases() {
  return {{"shards are stable", shards_are_stable},
          {"reading is repeatable", reading_is_repeatable},
          {"documents have ids", documents_have_ids}};
}

std::vector<Case> filter_cases() {
  return {{"columns are sane", columns_are_sane},         {"annotate writes every cell", annotate_writes_every_cell},
          {"annotate is pure", annotate_is_pure},         {"select is deterministic", select_is_deterministic},
          {"equal documents meet", equal_documents_meet}, {"edits are pure", edits_are_pure}};
}

std::vector<Case> tokenizer_cases() {
  return {{"decodes what it encodes", decodes_what_it_encodes},
          {"encode appends", encode_appends},
          {"special tokens fit", special_tokens_fit},
          {"survives a checkpoint", survives_a_checkpoint},
          {"refuses unfit bytes", refuses_unfit_bytes},
          {"training is deterministic", training_is_deterministic},
          {"writes its files", writes_its_files}};
}

} // namespace conclave::conformance
