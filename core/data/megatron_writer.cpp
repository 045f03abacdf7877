// MegatronWriter: see megatron_writer.hpp.

#include "data/megatron_writer.hpp"

#include <limits>
#include <string>

namespace conclave::data {

Result<MegatronWriter> MegatronWriter::create(const std::filesystem::path& prefix, std::int32_t vocabulary_size) {
  CONCLAVE_ASSIGN(FileWriter tokens, FileWriter::create(prefix.string() + ".bin"));
  CONCLAVE_ASSIGN(FileWriter index, FileWriter::create(prefix.string() + ".idx"));
  return MegatronWriter(std::move(tokens), std::move(index), datakit::megatron_type(vocabulary_size));
}

Status MegatronWriter::add(std::span<const std::int32_t> ids) {
  if (ids.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    return invalid("a document has " + std::to_string(ids.size()) + " tokens, and Megatron's index counts to 2^31 - 1",
                   "split long documents: data.length.too_long: split", tokens_.path().string());
  lengths_.push_back(static_cast<std::int32_t>(ids.size()));
  if (type_ == datakit::MegatronType::i32) return tokens_.write_values(ids);
  narrow_.assign(ids.begin(), ids.end());
  return tokens_.write_values(narrow_);
}

Status MegatronWriter::finish() {
  CONCLAVE_RETURN_IF_ERROR(tokens_.finish(Pages::drop).status());
  const auto documents = static_cast<std::uint64_t>(lengths_.size());
  CONCLAVE_RETURN_IF_ERROR(index_.write(datakit::megatron_magic));
  CONCLAVE_RETURN_IF_ERROR(index_.write_value(datakit::megatron_version));
  CONCLAVE_RETURN_IF_ERROR(index_.write_value(type_));
  CONCLAVE_RETURN_IF_ERROR(index_.write_value(documents));     // sequences
  CONCLAVE_RETURN_IF_ERROR(index_.write_value(documents + 1)); // bounds of documents
  CONCLAVE_RETURN_IF_ERROR(index_.write_values(lengths_));
  std::int64_t offset = 0;
  for (const std::int32_t length : lengths_) {
    CONCLAVE_RETURN_IF_ERROR(index_.write_value(offset));
    offset += std::int64_t{length} * datakit::megatron_width(type_);
  }
  for (std::uint64_t bound = 0; bound <= documents; ++bound)
    CONCLAVE_RETURN_IF_ERROR(index_.write_value(static_cast<std::int64_t>(bound)));
  return index_.finish(Pages::drop).status();
}

} // namespace conclave::data
