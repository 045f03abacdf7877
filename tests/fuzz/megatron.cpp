// Any bytes as the index of Megatron data. An input's first byte is the size of the .bin in units of eight.

#include "conclave/datakit/megatron.hpp"

#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  static fuzz::InputFile index_file, tokens_file;
  if (size == 0) return 0;
  tokens_file.set(std::string(std::size_t{8} * data[0], 'x'));
  index_file.set(fuzz::view(data + 1, size - 1));
  const auto index = datakit::MegatronIndex::open(index_file.path(), tokens_file.path());
  if (!index.ok()) return 0;
  const std::int64_t documents = index->documents();
  for (const auto& [first, count] :
       {std::pair{std::int64_t{0}, documents}, {documents / 2, documents - documents / 2}}) {
    const auto sequences = index->read(first, count);
    if (!sequences.ok()) continue;
    for (const datakit::MegatronSequence& sequence : *sequences) {
      fuzz::require(sequence.document >= first && sequence.document < first + count);
      const std::int64_t bytes = sequence.tokens * datakit::megatron_width(index->type());
      fuzz::require(bytes >= 0 && sequence.offset >= 0 && sequence.offset + bytes <= index->token_bytes());
    }
  }
  return 0;
}
