// Any bytes as a page; the first byte chooses the charset that the server names.

#include "conclave/datakit/html.hpp"

#include "conclave/datakit/utf8.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  constexpr const char* charsets[] = {"",       "iso-8859-1",  "gb2312", "shift_jis",
                                      "utf-16", "iso-2022-jp", "euc-kr", "big5"};
  if (size == 0) return 0;
  std::string page(fuzz::view(data + 1, size - 1));
  datakit::html::to_utf8(page, charsets[data[0] % std::size(charsets)]);
  for (const bool sections : {false, true})
    if (const auto texts = datakit::html::extract(page, {.sections = sections, .min_text = 5}))
      for (const std::string& text : *texts) fuzz::require(datakit::is_valid_utf8(text));
  return 0;
}
