// Columns in memory, and filters and sources run over a few texts.

#include "conclave/testkit_data.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace conclave::testkit {
namespace {

const char* type_name(ColumnType type) {
  switch (type) {
    case ColumnType::real: return "real";
    case ColumnType::integer: return "integer";
    case ColumnType::bits64: return "bits64";
  }
  return "?";
}

} // namespace

MemoryColumns::MemoryColumns(std::vector<ColumnSpec> columns, std::size_t rows)
    : columns_(std::move(columns)), rows_(rows), cells_(columns_.size() * rows) {}

MemoryColumns::Cell& MemoryColumns::cell(std::size_t row, std::size_t column, ColumnType type) {
  return const_cast<Cell&>(std::as_const(*this).cell(row, column, type));
}

const MemoryColumns::Cell& MemoryColumns::cell(std::size_t row, std::size_t column, ColumnType type) const {
  if (row >= rows_) throw std::logic_error("row " + std::to_string(row) + " of " + std::to_string(rows_));
  if (column >= columns_.size())
    throw std::logic_error("column " + std::to_string(column) + " of " + std::to_string(columns_.size()));
  if (columns_[column].type != type)
    throw std::logic_error("column " + columns_[column].name + " is " + type_name(columns_[column].type) +
                           ", used as " + type_name(type));
  return cells_[row * columns_.size() + column];
}

void MemoryColumns::set(std::size_t row, std::size_t column, double value) {
  cell(row, column, ColumnType::real) = value;
}
void MemoryColumns::set(std::size_t row, std::size_t column, std::int64_t value) {
  cell(row, column, ColumnType::integer) = value;
}
void MemoryColumns::set_bits(std::size_t row, std::size_t column, std::uint64_t value) {
  cell(row, column, ColumnType::bits64) = value;
}

bool MemoryColumns::complete() const noexcept {
  return std::none_of(cells_.begin(), cells_.end(), [](const Cell& c) { return c.index() == 0; });
}

std::vector<std::uint64_t> MemoryColumns::raw_row(std::size_t row) const {
  std::vector<std::uint64_t> raw;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const Cell& value = cells_.at(row * columns_.size() + c);
    if (const auto* real = std::get_if<double>(&value)) {
      raw.push_back(std::bit_cast<std::uint64_t>(*real));
    } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
      raw.push_back(static_cast<std::uint64_t>(*integer));
    } else if (const auto* bits = std::get_if<std::uint64_t>(&value)) {
      raw.push_back(*bits);
    } else {
      throw std::logic_error("column " + columns_[c].name + " of row " + std::to_string(row) + " was never written");
    }
  }
  return raw;
}

namespace {
template <class T, class Cell>
T read(const Cell& cell, const std::string& column) {
  const T* value = std::get_if<T>(&cell);
  if (!value) throw std::logic_error("column " + column + " was never written");
  return *value;
}
} // namespace

double MemoryColumns::Row::real(std::size_t column) const {
  const auto& cell = owner_->cell(row_, column, ColumnType::real);
  return read<double>(cell, owner_->columns_[column].name);
}
std::int64_t MemoryColumns::Row::integer(std::size_t column) const {
  const auto& cell = owner_->cell(row_, column, ColumnType::integer);
  return read<std::int64_t>(cell, owner_->columns_[column].name);
}
std::uint64_t MemoryColumns::Row::bits(std::size_t column) const {
  const auto& cell = owner_->cell(row_, column, ColumnType::bits64);
  return read<std::uint64_t>(cell, owner_->columns_[column].name);
}

MemoryColumns annotate(Filter& filter, const std::vector<std::string>& texts) {
  MemoryColumns columns(filter.columns(), texts.size());
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < texts.size(); ++i) ids.push_back("doc#" + std::to_string(i));
  std::vector<Document> documents;
  for (std::size_t i = 0; i < texts.size(); ++i) documents.push_back({ids[i], texts[i]});
  filter.annotate(documents, columns);
  return columns;
}

std::vector<std::string> verdicts(Filter& filter, const std::vector<std::string>& texts) {
  const MemoryColumns columns = annotate(filter, texts);
  std::vector<std::string> reasons(texts.size());
  std::vector<MemoryColumns::Row> rows;
  for (std::size_t i = 0; i < texts.size(); ++i) rows.push_back(columns.row(i));
  for (std::size_t i = 0; i < texts.size(); ++i)
    if (const Verdict verdict = filter.select(rows[i]); verdict.reason) reasons[i] = verdict.reason;

  const auto* dedup = dynamic_cast<const DedupFilter*>(&filter);
  if (!dedup) return reasons;
  std::vector<std::size_t> earlier(texts.size()); // a document of the same cluster, or itself
  std::vector<std::pair<DedupKey, std::size_t>> seen;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    earlier[i] = i;
    if (!reasons[i].empty()) continue;
    std::vector<DedupKey> keys;
    dedup->keys(rows[i], keys);
    for (const DedupKey& key : keys) seen.emplace_back(key, i);
  }
  const auto first_of = [&](std::size_t document) {
    while (earlier[document] != document) document = earlier[document];
    return document;
  };
  for (const auto& [one, i] : seen)
    for (const auto& [two, j] : seen) {
      if (j >= i || one.key != two.key || (one.value != two.value && !dedup->same(one.value, two.value))) continue;
      const auto [first, second] = std::minmax({first_of(i), first_of(j)});
      earlier[second] = first;
    }
  for (std::size_t i = 0; i < texts.size(); ++i)
    if (earlier[i] != i) reasons[i] = dedup->reason();
  return reasons;
}

SourceOutcome read_outcome(Source& source) {
  SourceOutcome outcome;
  const auto shards = source.shards();
  if (!shards.ok()) return {{}, 0, shards.error().render()};
  for (const ShardInfo& shard : *shards) {
    auto reader = source.open(shard);
    if (!reader.ok()) return {{}, 0, reader.error().render()};
    RawDocument document;
    for (;;) {
      const auto more = (*reader)->next(document);
      if (!more.ok()) outcome.error = more.error().render();
      if (!more.ok() || !*more) break;
      outcome.documents.push_back(document);
    }
    outcome.skipped += (*reader)->skipped();
  }
  return outcome;
}

Result<std::vector<RawDocument>> read_all(Source& source) {
  CONCLAVE_ASSIGN(const std::vector<ShardInfo> shards, source.shards());
  std::vector<RawDocument> documents;
  for (const ShardInfo& shard : shards) {
    CONCLAVE_ASSIGN(const std::unique_ptr<ShardReader> reader, source.open(shard));
    RawDocument document;
    while (true) {
      CONCLAVE_ASSIGN(const bool more, reader->next(document));
      if (!more) break;
      documents.push_back(document);
    }
  }
  return documents;
}

} // namespace conclave::testkit
