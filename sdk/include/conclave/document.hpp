// RawDocument, Document and Column: what flows through the prepare stages between sources, filters and the tokenizer.
//
// Threading: a Document's views are valid only during the call that hands it over; copy what must stay.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace conclave {

/// What a source reads: any bytes, as they came. The host judges `text` (`data.invalid_utf8`) and repairs the rest.
struct RawDocument {
  std::string id; ///< stable within its source, e.g. `shard#17`
  std::string text;
  std::string url = {};      ///< where the text was published; empty: unknown. Above max_url_bytes it counts as unknown
  std::string language = {}; ///< see Document; empty: unknown. Above max_language_bytes it counts as unknown

  static constexpr std::size_t max_url_bytes = 1 << 16;
  static constexpr std::size_t max_language_bytes = 64;

  /// Empties every field and keeps their memory, for the next document.
  void clear() {
    id.clear();
    text.clear();
    url.clear();
    language.clear();
  }
  bool operator==(const RawDocument&) const = default;
};

/// One text as filters and the tokenizer get it. Everything is UTF-8.
struct Document {
  std::string_view id;
  std::string_view text;
  std::string_view url = {}; ///< empty: unknown
  /// A BCP 47 tag for prose (`en`, `zh-Hant`), `code:<language>` for source code (`code:go`); empty: unknown.
  std::string_view language = {};
};

enum class ColumnType { real, integer, bits64 };

/// A per-document value that a filter computes once and that select steps, reports and dedup read later.
struct ColumnSpec {
  std::string name; ///< unique within the filter
  ColumnType type = ColumnType::real;
  std::string doc;
};

/// Receives the columns of a batch of documents. Row i belongs to the i-th document of the span.
class ColumnWriter {
 public:
  virtual ~ColumnWriter();
  virtual void set(std::size_t row, std::size_t column, double value) = 0;
  virtual void set(std::size_t row, std::size_t column, std::int64_t value) = 0;
  virtual void set_bits(std::size_t row, std::size_t column, std::uint64_t value) = 0;
};

/// One document's columns, in the order of the filter's column list.
class ColumnRow {
 public:
  virtual ~ColumnRow();
  [[nodiscard]] virtual double real(std::size_t column) const = 0;
  [[nodiscard]] virtual std::int64_t integer(std::size_t column) const = 0;
  [[nodiscard]] virtual std::uint64_t bits(std::size_t column) const = 0;
};

} // namespace conclave
