// Finding a document in its part.

#include "data/text_store.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

namespace conclave::data {
namespace {

std::string part_name(const char* what, std::size_t part) {
  char name[48];
  std::snprintf(name, sizeof name, "%s-%05zu", what, part);
  return name;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (std::size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1))
    lines.push_back(text.substr(0, end));
  return lines;
}

} // namespace

std::string TextStore::text_name(std::size_t part) { return part_name("texts", part); }
std::string TextStore::id_name(std::size_t part) { return part_name("ids", part); }
std::string TextStore::language_name(std::size_t part) { return part_name("languages", part); }
std::string TextStore::record_name(std::size_t part) { return part_name("records", part); }
std::string TextStore::shard_name(std::size_t part) { return part_name("shards", part); }

Result<TextStore> TextStore::open(const std::filesystem::path& directory, std::size_t parts) {
  TextStore store;
  for (std::size_t p = 0; p < parts; ++p) {
    Part part;
    CONCLAVE_ASSIGN(part.texts, MappedFile::open(directory / text_name(p)));
    CONCLAVE_ASSIGN(part.ids, MappedFile::open(directory / id_name(p)));
    CONCLAVE_ASSIGN(part.languages, MappedFile::open(directory / language_name(p)));
    part.language_lines = lines_of(part.languages.text());
    CONCLAVE_ASSIGN(part.records, MappedFile::open(directory / record_name(p)));
    CONCLAVE_ASSIGN(const MappedFile shards, MappedFile::open(directory / shard_name(p)));
    for (const std::uint64_t end : shards.as<std::uint64_t>()) store.shard_ends_.push_back(store.first_.back() + end);
    store.first_.push_back(store.first_.back() + part.records.as<TextRecord>().size());
    store.parts_.push_back(std::move(part));
  }
  return store;
}

TextStore::Place TextStore::find(std::size_t document) const {
  const auto after = std::upper_bound(first_.begin(), first_.end(), document);
  const auto p = static_cast<std::size_t>(after - first_.begin()) - 1;
  const auto records = parts_[p].records.as<TextRecord>();
  const std::size_t row = document - first_[p];
  const TextRecord before = row == 0 ? TextRecord{} : records[row - 1];
  return {&parts_[p], row, before.text_end, before.name_end, &records[row]};
}

Document TextStore::document(std::size_t document) const {
  const Place place = find(document);
  const TextRecord& record = *place.record;
  const auto name = place.part->ids.text().substr(place.name_begin, record.name_end - place.name_begin);
  const std::size_t id_bytes = name.size() - record.url_bytes;
  return {.id = name.substr(0, id_bytes),
          .text = place.part->texts.text().substr(place.text_begin, record.text_end - place.text_begin),
          .url = name.substr(id_bytes),
          .language = place.part->language_lines[record.language]};
}

std::uint64_t TextStore::bytes(std::size_t document) const {
  const Place place = find(document);
  return place.record->text_end - place.text_begin;
}

std::uint64_t TextStore::hash(std::size_t document) const { return find(document).record->hash; }

} // namespace conclave::data
