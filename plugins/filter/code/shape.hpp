// The shape of a source file: what tells code that people wrote from data, minified and generated files.
//
// The measures of the StarCoder and RedPajama data (Li et al. 2023, appendix A; Weber et al. 2024): lines, characters and
// comments. Comments are found by their marks alone, without a parser: `//`, `#`, `--`, `;`, `%` at the beginning of a line by
// the language, and what stands between `/*` and `*/`, `<!--` and `-->`, or triple quotes. A file of unknown language is asked
// for `//`, `#` and `/* */`.
//
// Threading: pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace conclave::code {

struct Shape {
  std::int64_t lines = 0;
  std::int64_t longest_line = 0;  ///< characters
  double mean_line = 0;           ///< characters of a line
  double alphanumeric = 0;        ///< share of characters that are letters or digits
  std::int64_t longest_token = 0; ///< characters of the longest run without white space
  double comments = 0;            ///< share of characters in lines that are comments
  bool xml = false;               ///< `<?xml version=` in the first 100 characters
  bool generated = false;         ///< says so in its first five lines
};

/// `language`: a document's, `code:go`; anything else is unknown.
Shape shape_of(std::string_view text, std::string_view language);

} // namespace conclave::code
