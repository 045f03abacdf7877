// Table: see table.hpp.

#include "table.hpp"

#include <arrow/array.h>
#include <arrow/io/file.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/schema.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "columns.hpp"

namespace conclave::parquet_source {
namespace {

constexpr std::int64_t batch_rows = 256;
constexpr std::int64_t most_memory = std::int64_t{1} << 30; // a damaged header may announce a page of any size

Error damaged(const std::string& path, const std::string& what) {
  return storage_error("cannot be read as Parquet: " + what, "fetch the file again", path);
}
Error damaged(const std::string& path, const arrow::Status& status) { return damaged(path, status.message()); }

/// Arrow's own calls end in statuses; those of its Parquet half may throw.
template <class Call>
auto without_exceptions(const std::string& path, Call&& call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::exception& error) { // ParquetException, and bad_alloc for a size that is none
    return damaged(path, error.what());
  }
}

/// A file and the memory that its reader may take; the memory outlives what lies in it.
struct OpenFile {
  std::unique_ptr<arrow::CappedMemoryPool> memory;
  std::unique_ptr<parquet::arrow::FileReader> reader;
};

Result<OpenFile> open_file(const std::string& path) {
  return without_exceptions(path, [&]() -> Result<OpenFile> {
    OpenFile opened{std::make_unique<arrow::CappedMemoryPool>(arrow::system_memory_pool(), most_memory), {}};
    auto file = arrow::io::ReadableFile::Open(path, opened.memory.get());
    if (!file.ok())
      return storage_error("cannot be read: " + file.status().message(), "check the path and its rights", path);
    parquet::ReaderProperties pages(opened.memory.get());
    pages.enable_buffered_stream(); // else whole column chunks are read at once
    pages.set_page_checksum_verification(true);
    parquet::ArrowReaderProperties rows(false); // no threads: the host has its own
    rows.set_batch_size(batch_rows);
    rows.set_pre_buffer(false);
    parquet::arrow::FileReaderBuilder builder;
    if (const auto status = builder.Open(*file, pages); !status.ok()) return damaged(path, status);
    builder.memory_pool(opened.memory.get())->properties(rows);
    auto reader = builder.Build();
    if (!reader.ok()) return damaged(path, reader.status());
    opened.reader = std::move(reader).ValueUnsafe();
    return opened;
  });
}

std::string names_of(const parquet::SchemaDescriptor& schema) {
  std::string names;
  for (int i = 0; i < std::min(schema.num_columns(), 40); ++i)
    names += (names.empty() ? "" : ", ") + schema.Column(i)->path()->ToDotString();
  return names;
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) c == '.' ? static_cast<void>(parts.emplace_back()) : parts.back().push_back(c);
  return parts;
}

/// The column of that path in a batch; null where it is not there. `fields` are its ancestors, any of which may be null in a
/// row.
struct Column {
  std::vector<const arrow::StructArray*> fields;
  std::shared_ptr<arrow::Array> values;

  static Column find(const arrow::RecordBatch& batch, const std::string& path) {
    // A name may itself contain dots.
    if (auto whole = batch.GetColumnByName(path)) return {{}, std::move(whole)};
    Column column;
    for (const std::string& part : split_path(path)) {
      if (!column.values && column.fields.empty()) {
        column.values = batch.GetColumnByName(part);
      } else if (column.values && column.values->type_id() == arrow::Type::STRUCT) {
        const auto* parent = static_cast<const arrow::StructArray*>(column.values.get());
        column.fields.push_back(parent);
        column.values = parent->GetFieldByName(part);
      } else {
        column.values = nullptr;
      }
      if (!column.values) return {};
    }
    return column;
  }

  [[nodiscard]] std::optional<std::string> text(std::int64_t row) const {
    if (!values || std::ranges::any_of(fields, [&](const auto* field) { return field->IsNull(row); }))
      return std::nullopt;
    return text_at(*values, row);
  }
};

class ArrowTable final : public Table {
 public:
  ArrowTable(std::string path, std::vector<std::string> names, OpenFile file,
             std::unique_ptr<arrow::RecordBatchReader> batches, std::int64_t first_row)
      : path_(std::move(path)),
        names_(std::move(names)),
        file_(std::move(file)),
        batches_(std::move(batches)),
        before_(first_row) {}

  Result<bool> next() override {
    return without_exceptions(path_, [&]() -> Result<bool> {
      ++at_;
      while (!batch_ || at_ >= batch_->num_rows()) {
        if (batch_) before_ += batch_->num_rows();
        columns_.clear();
        if (const auto status = batches_->ReadNext(&batch_); !status.ok()) return damaged(path_, status);
        if (!batch_) return false;
        at_ = 0;
        for (const std::string& name : names_)
          columns_.push_back(name.empty() ? Column{} : Column::find(*batch_, name));
      }
      return true;
    });
  }
  [[nodiscard]] std::int64_t row() const noexcept override { return before_ + at_; }
  [[nodiscard]] std::optional<std::string> text(std::size_t column) const override {
    return columns_[column].text(at_);
  }

 private:
  std::string path_;
  std::vector<std::string> names_;
  OpenFile file_; // outlives what it reads
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::vector<Column> columns_;
  std::int64_t before_, at_ = -1;
};

} // namespace

Result<Layout> read_layout(const std::string& path) {
  CONCLAVE_ASSIGN(const auto file, open_file(path));
  return without_exceptions(path, [&]() -> Result<Layout> {
    Layout layout;
    const auto metadata = file.reader->parquet_reader()->metadata();
    for (int i = 0; i < metadata->num_row_groups(); ++i) {
      const auto group = metadata->RowGroup(i);
      layout.rows.push_back(group->num_rows());
      layout.bytes.push_back(group->total_compressed_size() > 0 ? group->total_compressed_size()
                                                                : group->total_byte_size());
    }
    return layout;
  });
}

Result<std::unique_ptr<Table>> open_table(const std::string& path, int first, int last,
                                          std::vector<std::string> columns) {
  CONCLAVE_ASSIGN(auto file, open_file(path));
  return without_exceptions(path, [&]() -> Result<std::unique_ptr<Table>> {
    const auto metadata = file.reader->parquet_reader()->metadata();
    const parquet::SchemaDescriptor& schema = *metadata->schema();
    std::vector<int> leaves, groups;
    for (const std::string& name : columns) {
      if (name.empty()) continue;
      int found = -1;
      for (int i = 0; i < schema.num_columns(); ++i)
        if (schema.Column(i)->path()->ToDotString() == name && schema.Column(i)->max_repetition_level() == 0) found = i;
      if (found < 0)
        return invalid("there is no column " + name + " of single values; there are " + names_of(schema),
                       "name one of these in the options of source/parquet", path);
      leaves.push_back(found);
    }
    std::int64_t first_row = 0;
    for (int i = 0; i < std::min(first, metadata->num_row_groups()); ++i)
      first_row += metadata->RowGroup(i)->num_rows();
    for (int i = first; i < std::min(last, metadata->num_row_groups()); ++i) groups.push_back(i);
    auto batches = file.reader->GetRecordBatchReader(groups, leaves);
    if (!batches.ok()) return damaged(path, batches.status());
    // An empty batch shows the types before the first value is read.
    auto none = arrow::RecordBatch::MakeEmpty((*batches)->schema(), arrow::system_memory_pool());
    if (!none.ok()) return damaged(path, none.status());
    for (const std::string& name : columns) {
      if (name.empty()) continue;
      const Column column = Column::find(**none, name);
      if (!column.values || !is_readable(*column.values->type()))
        return invalid("the column " + name + " holds " +
                           (column.values ? column.values->type()->ToString() : "nothing") + ", which is no text",
                       "name a column of text; there are " + names_of(schema), path);
    }
    return std::unique_ptr<Table>(
        std::make_unique<ArrowTable>(path, std::move(columns), std::move(file), std::move(*batches), first_row));
  });
}

} // namespace conclave::parquet_source
