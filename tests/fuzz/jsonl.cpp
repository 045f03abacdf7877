// Any bytes as a JSONL file, plain, gzip or zstd.

#include "conclave/testkit.hpp"
#include "input.hpp"
#include "jsonl_source.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  static fuzz::InputFile file;
  static testkit::FakeHost host({.phase = Phase::prepare});
  file.set(fuzz::view(data, size));
  jsonl::JsonlOptions options;
  options.paths = {Path{file.path()}};
  options.id = "id";
  options.url = "meta.url";
  options.max_line = 4096;
  jsonl::JsonlSource source(host, options);
  const auto shards = source.shards();
  if (!shards.ok()) return 0;
  for (const ShardInfo& shard : *shards) {
    auto reader = source.open(shard);
    fuzz::require(reader.ok());
    RawDocument document;
    for (;;) {
      const auto more = (*reader)->next(document);
      if (!more.ok() || !*more) break;
      fuzz::require(!document.id.empty());
    }
    fuzz::require((*reader)->skipped() >= 0);
  }
  return 0;
}
