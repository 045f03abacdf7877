// Any bytes as a tokenizer.json, and what loads encodes and decodes. An input is a file, or a file, a NUL and a text for it.

#include "conclave/testkit.hpp"
#include "hf_bpe_tokenizer.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  const std::string_view input = fuzz::view(data, size);
  const std::size_t end = std::min(input.find('\0'), size);
  static testkit::FakeHost host({.phase = Phase::prepare});
  hf_bpe::HfBpeTokenizer tokenizer(host, {});
  if (!tokenizer.load(input.substr(0, end)).ok()) return 0;
  std::string text(end < size ? input.substr(end + 1) : "some text = 17; 日本\n <tool_call>"), back;
  std::vector<std::int32_t> ids;
  fuzz::require(tokenizer.encode(text, ids).ok());
  for (const std::int32_t id : ids) fuzz::require(id >= 0 && id < tokenizer.vocabulary_size());
  fuzz::require(tokenizer.decode(ids.data(), ids.size(), back).ok());
  return 0;
}
