// Languages as crawls name them.
//
// Threading: pure.
#pragma once

#include <string>
#include <string_view>

namespace conclave::warc {

/// The first language of a WARC-Identified-Content-Language field (`zho,eng`: ISO 639-3, most text first) as a BCP 47 tag
/// (`zh`): two letters where the language has such a code. Empty: the field is empty or says `und`.
std::string language_tag(std::string_view field);

} // namespace conclave::warc
