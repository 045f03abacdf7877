// Words and marks of a text, as the published quality rules count them; sentences and lines.
//
// What this is: a cutter that keeps everything but white space, in order and as it stands. Text with spaces is cut as
// spaCy's English tokenizer does, which is what the rules of Gopher, C4 and FineWeb are counted with in practice: marks
// stand alone, `don't` is two words, `well-known` three, a URL one. Scripts without spaces (Han, kana, Thai, Lao, Khmer,
// Burmese) are cut by ICU's dictionaries; ICU sees nothing else, because it is ten times slower.
// What this is not: the words that shingles are made of, for which only equality counts: for_each_word (utf8.hpp) gives
// those in lower case, without marks and each ideograph alone, so an edit touches few of them.
//
// Threading: one thread at a time per WordCutter; the functions are pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace conclave::datakit {

struct Word {
  std::string_view text;        ///< as it stands; never empty, no white space
  std::uint32_t characters = 0; ///< code points
  bool mark = false;            ///< no letter and no digit in it
  bool letter = false;          ///< a letter of any script in it
};

class WordCutter {
 public:
  WordCutter();
  ~WordCutter();
  WordCutter(WordCutter&&) noexcept;
  WordCutter& operator=(WordCutter&&) noexcept;

  /// All words of `text` in order. The result is valid until the next call, its views as long as `text`.
  std::span<const Word> operator()(std::string_view text);

 private:
  class Dictionaries;
  void add(std::string_view word);
  void add_plain(std::string_view word, unsigned classes);
  void cut_chunk(std::string_view chunk);
  void cut_unspaced(std::string_view chunk);
  void join_specials(std::size_t first);

  std::vector<Word> words_;
  std::vector<std::string_view> suffixes_;
  std::unique_ptr<Dictionaries> dictionaries_; ///< made when first needed: loading takes a while
};

/// How many sentences the words make: one ends with `.`, `!`, `?` or such a mark of another script, and the marks that
/// follow belong to it (the rule of spaCy's sentencizer). 0 without words.
std::int64_t count_sentences(std::span<const Word> words);

/// True when the text ends with a mark that ends sentences, in any script (Unicode's Sentence_Terminal).
bool ends_sentence(std::string_view text);

/// Calls visit(std::string_view line) for each line without its `\n`, empty ones too; not for what would follow a last `\n`.
template <class Visit>
void for_each_line(std::string_view text, Visit&& visit) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    visit(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

/// Without white space (is_space) at its ends.
std::string_view trimmed(std::string_view text);

} // namespace conclave::datakit
