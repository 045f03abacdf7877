// libFuzzer target: any bytes as a tokenizer.json, and what loads encodes and decodes.
//
//   ninja -C build fuzz_tokenizer_hf_bpe && mkdir -p corpus && cp plugins/tokenizer/hf-bpe/testdata/*.json corpus
//   build/bin/fuzz_tokenizer_hf_bpe corpus -max_len=40000
//
// An input is a file, or a file, a zero byte and a text for it.

#include <cstdlib>

#include "conclave/testkit.hpp"
#include "hf_bpe_tokenizer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), size);
  static testkit::FakeHost host({.phase = Phase::prepare});
  hf_bpe::HfBpeTokenizer tokenizer(host, {});
  if (!tokenizer.load(input.substr(0, end)).ok()) return 0;
  std::string text(end < size ? input.substr(end + 1) : "some text = 17; 日本\n <tool_call>"), back;
  std::vector<std::int32_t> ids;
  if (!tokenizer.encode(text, ids).ok()) std::abort();
  for (const std::int32_t id : ids)
    if (id < 0 || id >= tokenizer.vocabulary_size()) std::abort();
  if (!tokenizer.decode(ids.data(), ids.size(), back).ok()) std::abort();
  return 0;
}
