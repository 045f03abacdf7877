// Any bytes as a dictd index and its body. An input is the index, a NUL, and the body: plain, dictzip or gzip.

#include "body.hpp"
#include "index.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  static fuzz::InputFile index_file, body_file;
  const std::string_view input = fuzz::view(data, size);
  const std::size_t end = std::min(input.find('\0'), size);
  index_file.set(input.substr(0, end));
  body_file.set(end < size ? input.substr(end + 1) : std::string_view{});
  const auto index = dictd::read_index(index_file.path());
  auto body = dictd::open_body(body_file.path());
  if (!index.ok() || !body.ok()) return 0;
  std::string article;
  for (const dictd::Entry& entry : index->entries) {
    if (entry.length > 1 << 16) continue; // the source skips those above max_document
    const auto there = (*body)->read(entry.offset, entry.length, article);
    if (there.ok() && *there) fuzz::require(static_cast<std::int64_t>(article.size()) == entry.length);
  }
  return 0;
}
