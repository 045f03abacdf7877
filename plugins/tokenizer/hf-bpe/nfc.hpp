// NFC as Hugging Face's tokenizers does it: ICU's, held to the Unicode version (9) of the tables that theirs has. A mark that
// came later is a character of its own there, which neither moves nor composes.
//
// Threading: pure.
#pragma once

#include <string>
#include <string_view>

namespace conclave::hf_bpe {

/// The normalised text: `text` itself where it is normal already, else a view of `scratch`. Bytes that are no UTF-8 stay.
[[nodiscard]] std::string_view to_nfc(std::string_view text, std::string& scratch);

} // namespace conclave::hf_bpe
