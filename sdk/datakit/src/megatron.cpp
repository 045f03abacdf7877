// Reading Megatron's index: see conclave/datakit/megatron.hpp.

#include "conclave/datakit/megatron.hpp"

#include <cstring>
#include <filesystem>

#include "conclave/datakit/byte_stream.hpp"

namespace conclave::datakit {
namespace {

constexpr std::int64_t header_bytes = 34;

/// The arrays lie unaligned, so values are copied, never cast.
template <class T>
T value_at(std::string_view bytes, std::size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

Result<std::int64_t> size_of(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return storage_error("cannot read the size: " + error.message(), "check the disk and the path", path);
  return static_cast<std::int64_t>(size);
}

Error unfit(const std::string& what, const std::string& path) {
  return storage_error("the index of Megatron data " + what, "copy both files again", path);
}

} // namespace

Result<MegatronIndex> MegatronIndex::open(const std::string& index_path, const std::string& tokens_path) {
  MegatronIndex index;
  index.path_ = index_path;
  CONCLAVE_ASSIGN(const std::int64_t size, size_of(index_path));
  CONCLAVE_ASSIGN(index.token_bytes_, size_of(tokens_path));
  if (size < header_bytes) return unfit("is shorter than its header", index_path);
  CONCLAVE_ASSIGN(const std::string header, index.bytes(0, header_bytes));
  if (!header.starts_with(megatron_magic))
    return invalid("this is no index of Megatron's indexed data (MMIDIDX)",
                   "convert older data with Megatron's own tools", index_path);
  if (value_at<std::uint64_t>(std::string_view(header).substr(9), 0) != megatron_version)
    return invalid("the index has another version than 1", "convert it with Megatron's own tools", index_path);
  index.type_ = static_cast<MegatronType>(header[17]);
  if (megatron_width(index.type_) == 0)
    return invalid("the index says that the .bin holds no integers (type " + std::to_string(header[17]) + ")",
                   "give data of token ids", index_path);
  const auto sequences = value_at<std::uint64_t>(std::string_view(header).substr(18), 0);
  const auto bounds = value_at<std::uint64_t>(std::string_view(header).substr(26), 0);
  const auto most = static_cast<std::uint64_t>(size); // no count exceeds the file's bytes, so that sums cannot overflow
  if (sequences > most || bounds > most || bounds == 0 || header_bytes + 12 * sequences + 8 * bounds > most)
    return unfit("is shorter than what its header announces", index_path);
  index.sequences_ = static_cast<std::int64_t>(sequences);
  index.documents_ = static_cast<std::int64_t>(bounds) - 1;
  return index;
}

Result<std::string> MegatronIndex::bytes(std::int64_t offset, std::int64_t size) const {
  std::string out;
  if (size == 0) return out;
  CONCLAVE_ASSIGN(const auto stream, open_stored_bytes(path_, {offset, offset + size}));
  CONCLAVE_RETURN_IF_ERROR(read_all(*stream, static_cast<std::size_t>(size), out).status());
  if (static_cast<std::int64_t>(out.size()) != size) return unfit("became shorter while it was read", path_);
  return out;
}

Result<std::vector<MegatronSequence>> MegatronIndex::read(std::int64_t first, std::int64_t count) const {
  std::vector<MegatronSequence> found;
  const std::int64_t bounds_at = header_bytes + 12 * sequences_;
  CONCLAVE_ASSIGN(const std::string bounds, bytes(bounds_at + 8 * first, 8 * (count + 1)));
  const auto bound = [&](std::int64_t i) { return value_at<std::int64_t>(bounds, static_cast<std::size_t>(i)); };
  const std::int64_t begin = bound(0), end = bound(count);
  if (begin < 0 || end < begin || end > sequences_) return unfit("has documents that do not fit its sequences", path_);
  CONCLAVE_ASSIGN(const std::string lengths, bytes(header_bytes + 4 * begin, 4 * (end - begin)));
  CONCLAVE_ASSIGN(const std::string offsets, bytes(header_bytes + 4 * sequences_ + 8 * begin, 8 * (end - begin)));
  const int width = megatron_width(type_);
  for (std::int64_t document = 0, sequence = begin; document < count; ++document) {
    if (bound(document) != sequence || bound(document + 1) < sequence || bound(document + 1) > end)
      return unfit("has documents that do not fit its sequences", path_);
    for (; sequence < bound(document + 1); ++sequence) {
      const auto at = static_cast<std::size_t>(sequence - begin);
      const std::int64_t tokens = value_at<std::int32_t>(lengths, at), offset = value_at<std::int64_t>(offsets, at);
      if (tokens < 0 || offset < 0 || offset > token_bytes_ || tokens * width > token_bytes_ - offset)
        return unfit("points beyond the end of the .bin (sequence " + std::to_string(sequence) + ")", path_);
      found.push_back({first + document, offset, tokens});
    }
  }
  return found;
}

} // namespace conclave::datakit
