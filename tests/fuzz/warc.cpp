// Any bytes as a WARC file, plain or gzip: records, and pages out of them.

#include "conclave/datakit/utf8.hpp"
#include "input.hpp"
#include "language.hpp"
#include "page.hpp"
#include "records.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  static fuzz::InputFile file;
  const std::string_view input = fuzz::view(data, size);
  file.set(input);
  const auto length = static_cast<std::int64_t>(size);
  for (const auto& [begin, end] : {std::pair{std::int64_t{0}, length / 2}, {length / 2, std::int64_t{-1}}}) {
    auto members = warc::open_members(file.path(), begin, end);
    if (!members.ok()) continue; // damaged zstd
    warc::Records records(std::move(*members), 4096, [](auto, auto, const std::string&) {});
    warc::Record record;
    std::pair<std::int64_t, std::int64_t> last{-1, -1};
    for (;;) {
      const auto more = records.next(record);
      if (!more.ok() || !*more) break;
      const std::pair place{record.member, record.position};
      fuzz::require(place > last); // ids never repeat
      last = place;
      fuzz::require(record.body.size() <= 4096);
      std::string text;
      if (warc::page_text(record, {10, 1 << 16}, text) == warc::PageKind::text) fuzz::require(text.size() <= 1 << 20);
      warc::language_tag(record.language);
    }
  }
  return 0;
}
