// Safetensors headers.

#include "checkpoint/safetensors.hpp"

#include <algorithm>
#include <array>
#include <set>

#include <nlohmann/json.hpp>

#include "checkpoint/dtypes.hpp"
#include "checkpoint/verified_files.hpp"

namespace conclave {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr const char* metadata_key = "__metadata__";
constexpr std::int64_t length_bytes = 8;

Error damaged(const std::filesystem::path& path, std::string what) {
  return storage_error("not a valid safetensors file: " + std::move(what), "use another copy of this file",
                       path.string());
}

std::string encode_length(std::uint64_t value) {
  std::string text;
  for (int i = 0; i < length_bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::uint64_t decode_length(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < length_bytes; ++i)
    value |= std::to_integer<std::uint64_t>(bytes[static_cast<std::size_t>(i)]) << (8 * i);
  return value;
}

/// The library keeps one of two equal keys in silence, so they are counted while it parses.
class DuplicateKeys {
 public:
  bool operator()(OrderedJson::parse_event_t event, const OrderedJson& value) {
    if (event == OrderedJson::parse_event_t::object_start) open_.emplace_back();
    if (event == OrderedJson::parse_event_t::object_end && !open_.empty()) open_.pop_back();
    if (event == OrderedJson::parse_event_t::key && !open_.empty() &&
        !open_.back().insert(value.get<std::string>()).second && first_.empty())
      first_ = value.get<std::string>();
    return true;
  }
  [[nodiscard]] const std::string& first() const { return first_; }

 private:
  std::vector<std::set<std::string>> open_;
  std::string first_;
};

bool read_extent(const OrderedJson& value, std::int64_t& out) {
  if (!value.is_number_unsigned()) return false;
  const auto number = value.get<std::uint64_t>();
  if (number > static_cast<std::uint64_t>(INT64_MAX)) return false;
  out = static_cast<std::int64_t>(number);
  return true;
}

/// "" or what is wrong with the entry.
std::string read_entry(const OrderedJson& value, SafetensorsEntry& entry) {
  if (!value.is_object() || value.size() != 3) return "expected dtype, shape and data_offsets";
  const auto dtype = value.find("dtype"), shape = value.find("shape"), offsets = value.find("data_offsets");
  if (dtype == value.end() || shape == value.end() || offsets == value.end())
    return "expected dtype, shape and data_offsets";
  if (!dtype->is_string()) return "dtype is not a string";
  entry.dtype = dtype->get<std::string>();
  const DtypeInfo* info = find_dtype(entry.dtype);
  if (!info) return "unknown dtype '" + entry.dtype.substr(0, 20) + "'";
  if (!shape->is_array()) return "shape is not a list";
  for (const OrderedJson& item : *shape) {
    std::int64_t extent = 0;
    if (!read_extent(item, extent)) return "shape holds something that is not a size";
    entry.shape.push_back(extent);
  }
  if (!offsets->is_array() || offsets->size() != 2 || !read_extent((*offsets)[0], entry.begin) ||
      !read_extent((*offsets)[1], entry.end) || entry.end < entry.begin)
    return "data_offsets is not a range";
  const auto bytes = byte_count(entry.shape, info->bytes);
  if (!bytes || *bytes != entry.end - entry.begin) return "dtype and shape do not fit the length of data_offsets";
  return {};
}

} // namespace

Result<std::string> plan_safetensors(SafetensorsLayout& layout) {
  for (const SafetensorsEntry& entry : layout.entries)
    if (!find_dtype(entry.dtype))
      return internal_error("tensor '" + entry.name + "' has no safetensors dtype '" + entry.dtype + "'");
  std::sort(layout.entries.begin(), layout.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    const std::int64_t wide = find_dtype(a.dtype)->bytes, other = find_dtype(b.dtype)->bytes;
    return wide != other ? wide > other : a.name < b.name;
  });
  OrderedJson header = OrderedJson::object();
  if (!layout.metadata.empty()) header[metadata_key] = layout.metadata;
  std::int64_t at = 0;
  for (SafetensorsEntry& entry : layout.entries) {
    const auto bytes = byte_count(entry.shape, find_dtype(entry.dtype)->bytes);
    if (!bytes || at > INT64_MAX / 2 - *bytes) return internal_error("tensor '" + entry.name + "' is too large");
    entry.begin = at;
    entry.end = at += *bytes;
    header[entry.name] = {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  if (header.size() != layout.entries.size() + (layout.metadata.empty() ? 0 : 1))
    return internal_error("two tensors of one file share a name, or one is called __metadata__");
  std::string text;
  try {
    text = header.dump();
  } catch (const OrderedJson::exception&) {
    return internal_error("a tensor name is not UTF-8");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  if (static_cast<std::int64_t>(text.size()) > safetensors_header_limit)
    return internal_error("the safetensors header passes 100 MB: write smaller files");
  layout.data_begin = length_bytes + static_cast<std::int64_t>(text.size());
  layout.data_bytes = at;
  return encode_length(text.size()) + text;
}

Result<SafetensorsLayout> read_safetensors(const FileHandle& file, const std::filesystem::path& path) {
  CONCLAVE_ASSIGN(const std::int64_t size, file_size(file, path));
  if (size < length_bytes) return damaged(path, "it is shorter than its length field");
  std::array<std::byte, length_bytes> prefix;
  CONCLAVE_RETURN_IF_ERROR(read_exactly(file, path, 0, prefix));
  const std::uint64_t length = decode_length(prefix);
  if (length > static_cast<std::uint64_t>(safetensors_header_limit))
    return damaged(path, "its header claims more than 100 MB");
  if (static_cast<std::int64_t>(length) > size - length_bytes)
    return damaged(path, "its header passes the end of the file");
  std::string text(length, '\0');
  CONCLAVE_RETURN_IF_ERROR(
      read_exactly(file, path, length_bytes, std::as_writable_bytes(std::span(text.data(), text.size()))));
  if (text.empty() || text.front() != '{') return damaged(path, "its header does not start with '{'");

  DuplicateKeys duplicates;
  const OrderedJson header = OrderedJson::parse(
      text, [&](int, OrderedJson::parse_event_t event, OrderedJson& value) { return duplicates(event, value); },
      /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object()) return damaged(path, "its header is not a JSON object");
  if (!duplicates.first().empty())
    return damaged(path, "the key '" + duplicates.first().substr(0, 100) + "' stands twice in its header");

  SafetensorsLayout layout;
  layout.data_begin = length_bytes + static_cast<std::int64_t>(length);
  layout.data_bytes = size - layout.data_begin;
  for (const auto& [key, value] : header.items()) {
    if (key == metadata_key) {
      if (!value.is_object()) return damaged(path, "__metadata__ is not an object");
      for (const auto& [name, item] : value.items()) {
        if (!item.is_string()) return damaged(path, "__metadata__ holds something that is not text");
        layout.metadata[name] = item.get<std::string>();
      }
      continue;
    }
    SafetensorsEntry entry;
    entry.name = key;
    if (std::string wrong = read_entry(value, entry); !wrong.empty())
      return damaged(path, "tensor '" + key.substr(0, 100) + "': " + wrong);
    layout.entries.push_back(std::move(entry));
  }
  std::sort(layout.entries.begin(), layout.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::int64_t at = 0;
  for (const SafetensorsEntry& entry : layout.entries) {
    if (entry.begin != at)
      return damaged(path, "the data of tensor '" + entry.name.substr(0, 100) + "' " +
                               (entry.begin < at ? "overlaps another" : "leaves a hole"));
    at = entry.end;
  }
  if (at != layout.data_bytes)
    return damaged(path, "its tensors need " + std::to_string(at) + " bytes of data, the file holds " +
                             std::to_string(layout.data_bytes));
  return layout;
}

} // namespace conclave
