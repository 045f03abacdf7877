// TextStore: one domain's documents after reading, as valid UTF-8 on disk, memory-mapped.
//
// Parts follow each other; a part is a run of the source's shards, read by one worker. Per part there are five files:
// the texts back to back, the ids back to back with each document's URL after its id, the languages that occur (a line
// each, the first one empty), one TextRecord per document, and for each shard how many documents of the part end with it.
//
// Threading: immutable; safe to read from any thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "conclave/document.hpp"
#include "conclave/status.hpp"
#include "data/files.hpp"

namespace conclave::data {

/// On disk, in the machine's byte order (little-endian on every platform supported).
struct TextRecord {
  std::uint64_t text_end = 0; ///< byte after the document's text in its part
  std::uint64_t name_end = 0; ///< byte after its id and URL
  std::uint64_t hash = 0;     ///< hash_text of the text
  std::uint32_t url_bytes = 0;
  std::uint32_t language = 0; ///< line of the part's languages
};

class TextStore {
 public:
  /// Names of part `part`'s files.
  static std::string text_name(std::size_t part);
  static std::string id_name(std::size_t part);
  static std::string language_name(std::size_t part);
  static std::string record_name(std::size_t part);
  static std::string shard_name(std::size_t part);

  static Result<TextStore> open(const std::filesystem::path& directory, std::size_t parts);

  [[nodiscard]] std::size_t size() const noexcept { return first_.back(); }
  /// Precondition of all three: document < size().
  [[nodiscard]] Document document(std::size_t document) const;
  [[nodiscard]] std::uint64_t bytes(std::size_t document) const;
  [[nodiscard]] std::uint64_t hash(std::size_t document) const;
  /// For each of the source's shards, in their order, the document after its last one.
  [[nodiscard]] const std::vector<std::uint64_t>& shard_ends() const noexcept { return shard_ends_; }

 private:
  struct Part {
    MappedFile texts, ids, languages, records;
    std::vector<std::string_view> language_lines;
  };
  struct Place {
    const Part* part;
    std::size_t row;
    std::uint64_t text_begin, name_begin;
    const TextRecord* record;
  };
  [[nodiscard]] Place find(std::size_t document) const;

  std::vector<Part> parts_;
  std::vector<std::size_t> first_ = {0}; ///< ordinal of each part's first document, and the total
  std::vector<std::uint64_t> shard_ends_;
};

/// A half-open range of positions.
using Range = std::pair<std::size_t, std::size_t>;

/// Cuts [0, count) into ranges of at most max_count positions whose sizes (bytes_of(position)) sum to about max_bytes:
/// the units of parallel work. They depend on the data alone, never on the number of workers.
template <class BytesOf>
std::vector<Range> cut_into_chunks(std::size_t count, std::size_t max_count, std::uint64_t max_bytes,
                                   BytesOf bytes_of) {
  std::vector<Range> chunks;
  std::size_t begin = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < count; ++i) {
    bytes += bytes_of(i);
    if (i + 1 - begin >= max_count || bytes >= max_bytes) {
      chunks.emplace_back(begin, i + 1);
      begin = i + 1;
      bytes = 0;
    }
  }
  if (begin < count) chunks.emplace_back(begin, count);
  return chunks;
}

} // namespace conclave::data
