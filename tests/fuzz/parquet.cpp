// Any bytes as a Parquet file. Arrow's libraries are not instrumented: this finds crashes, and what our half does with what
// they give.

#include "input.hpp"
#include "table.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  static fuzz::InputFile file;
  file.set(fuzz::view(data, size));
  if (!parquet_source::read_layout(file.path()).ok()) return 0;
  auto table = parquet_source::open_table(file.path(), 0, 1 << 20, {"text", "key", "meta.url"});
  if (!table.ok()) return 0;
  for (int rows = 0; rows < 5000; ++rows) {
    const auto more = (*table)->next();
    if (!more.ok() || !*more) break;
    for (std::size_t column = 0; column < 3; ++column) static_cast<void>((*table)->text(column));
  }
  return 0;
}
