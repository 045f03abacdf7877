// Words and marks of a text: see words.hpp.

#include "conclave/datakit/words.hpp"

#include <unicode/brkiter.h>
#include <unicode/uchar.h>
#include <unicode/utext.h>

#include <stdexcept>
#include <string>

#include "conclave/datakit/utf8.hpp"
#include "word_rules.hpp"

namespace conclave::datakit {
namespace {

/// Scripts that ICU has dictionaries for.
bool needs_dictionary(char32_t c) noexcept {
  if (c < 0x0E00) return false;
  return (c <= 0x0EFF && c != 0x0E3F) || (c >= 0x1000 && c <= 0x109F) || (c >= 0x1780 && c <= 0x17DD) || is_unspaced(c);
}

/// The length of the white space at text[at]; 0 for none. Precondition: at < text.size().
std::size_t space_at(std::string_view text, std::size_t at) noexcept {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return rules::class_of(text[at]) == rules::space ? 1 : 0;
  if (byte != 0xC2 && byte != 0xE1 && byte != 0xE2 && byte != 0xE3) return 0; // where all the others begin
  const Utf8Step step = step_utf8(text, at);
  return is_space(step.code) ? step.length : 0;
}

} // namespace

/// ICU's word boundaries within runs of unspaced scripts.
class WordCutter::Dictionaries {
 public:
  Dictionaries() {
    UErrorCode status = U_ZERO_ERROR;
    iterator_.reset(icu::BreakIterator::createWordInstance(icu::Locale::getRoot(), status));
    if (U_FAILURE(status)) throw std::runtime_error("ICU has no rules for words: " + std::string(u_errorName(status)));
  }
  template <class Visit>
  void cut(std::string_view run, Visit&& visit) {
    UErrorCode status = U_ZERO_ERROR;
    UText text = UTEXT_INITIALIZER;
    utext_openUTF8(&text, run.data(), static_cast<std::int64_t>(run.size()), &status);
    iterator_->setText(&text, status);
    if (U_FAILURE(status)) throw std::runtime_error("ICU cannot cut words: " + std::string(u_errorName(status)));
    std::int32_t begin = iterator_->first();
    for (std::int32_t end = iterator_->next(); end != icu::BreakIterator::DONE; end = iterator_->next()) {
      visit(run.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
      begin = end;
    }
    utext_close(&text);
  }

 private:
  std::unique_ptr<icu::BreakIterator> iterator_;
};

WordCutter::WordCutter() = default;
WordCutter::~WordCutter() = default;
WordCutter::WordCutter(WordCutter&&) noexcept = default;
WordCutter& WordCutter::operator=(WordCutter&&) noexcept = default;

std::span<const Word> WordCutter::operator()(std::string_view text) {
  using namespace rules;
  words_.clear();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    unsigned seen = 0, last = 0;
    while (at < text.size()) {
      const unsigned next = class_of(text[at]);
      if ((next & alphanumeric) == 0) break;
      seen |= last = next;
      ++at;
    }
    const std::size_t core = at;
    // Nearly all of prose is words and words with one mark behind them.
    if (at == text.size() || class_of(text[at]) == space) {
      if (core > begin) add_plain(text.substr(begin, core - begin), seen);
      ++at;
      continue;
    }
    if (last == lower && (text[at] == ',' || text[at] == '.') &&
        (at + 1 == text.size() || class_of(text[at + 1]) == space)) {
      const std::string_view chunk = text.substr(begin, core + 1 - begin);
      if (text[at] == ',' || find_special(chunk) == nullptr) {
        add_plain(chunk.substr(0, chunk.size() - 1), seen);
        words_.push_back({chunk.substr(chunk.size() - 1), 1, true, false});
      } else {
        cut_chunk(chunk);
      }
      at += 2;
      continue;
    }
    std::size_t white = 0;
    while (at < text.size() && (white = space_at(text, at)) == 0) ++at;
    if (at > begin) cut_chunk(text.substr(begin, at - begin));
    at += white;
  }
  return words_;
}

/// Letters and digits of ASCII alone.
void WordCutter::add_plain(std::string_view word, unsigned classes) {
  if (const rules::Special* special = rules::find_special(word)) {
    std::size_t at = 0;
    for (std::size_t i = 0; i < special->pieces; at += special->lengths[i++]) add(word.substr(at, special->lengths[i]));
    return;
  }
  const bool mixed = (classes & rules::digit) != 0 && (classes & rules::letter) != 0;
  const std::size_t unit = mixed ? rules::unit_length(word) : 0;
  if (unit == 0) {
    words_.push_back({word, static_cast<std::uint32_t>(word.size()), false, (classes & rules::letter) != 0});
    return;
  }
  add(word.substr(0, word.size() - unit));
  add(word.substr(word.size() - unit));
}

void WordCutter::add(std::string_view word) {
  Word added{word, 0, true, false};
  for (std::size_t at = 0; at < word.size(); ++added.characters) {
    const char byte = word[at];
    if (static_cast<unsigned char>(byte) < 0x80) {
      const unsigned kind = rules::class_of(byte);
      added.letter |= (kind & rules::letter) != 0;
      added.mark &= (kind & rules::alphanumeric) == 0;
      ++at;
      continue;
    }
    const auto code = static_cast<UChar32>(decode(word, at));
    added.letter |= u_isalpha(code) != 0;
    added.mark &= u_isalnum(code) == 0 && (U_GET_GC_MASK(code) & U_GC_M_MASK) == 0;
  }
  words_.push_back(added);
}

void WordCutter::cut_chunk(std::string_view chunk) {
  for (std::size_t at = 0; at < chunk.size();) {
    if (static_cast<unsigned char>(chunk[at]) < 0xE0) {
      ++at;
      continue;
    }
    if (needs_dictionary(decode(chunk, at))) return cut_unspaced(chunk);
  }

  const auto attach = [this](std::string_view core, const rules::Special* special) {
    if (special != nullptr) {
      for (std::size_t i = 0, at = 0; i < special->pieces; at += special->lengths[i++])
        add(core.substr(at, special->lengths[i]));
    } else if (rules::is_url(core)) {
      add(core);
    } else {
      std::size_t begin = 0;
      for (rules::Infix infix = rules::next_infix(core, 0); infix.length > 0;
           infix = rules::next_infix(core, infix.begin + infix.length)) {
        if (infix.begin == 0) continue; // it belongs to what follows
        if (infix.begin > begin) add(core.substr(begin, infix.begin - begin));
        add(core.substr(infix.begin, infix.length));
        begin = infix.begin + infix.length;
      }
      if (begin < core.size()) add(core.substr(begin));
    }
  };

  const std::size_t first = words_.size();
  suffixes_.clear();
  const rules::Special* special = nullptr;
  while (!chunk.empty()) {
    if ((special = rules::find_special(chunk)) != nullptr) break;
    const std::size_t prefix = rules::prefix_length(chunk);
    const std::string_view behind = chunk.substr(prefix);
    if (prefix > 0 && !behind.empty() && (special = rules::find_special(behind)) != nullptr) {
      add(chunk.substr(0, prefix));
      chunk = behind;
      break;
    }
    const std::size_t suffix = rules::suffix_length(behind);
    if (suffix > 0) {
      const std::string_view front = chunk.substr(0, chunk.size() - suffix);
      special = rules::find_special(front);
      suffixes_.push_back(chunk.substr(front.size()));
      chunk = front;
      if (special != nullptr) break;
    }
    if (prefix > 0) {
      add(chunk.substr(0, prefix));
      chunk.remove_prefix(prefix);
    }
    if (prefix == 0 && suffix == 0) break;
  }
  if (!chunk.empty()) attach(chunk, special);
  for (auto suffix = suffixes_.rbegin(); suffix != suffixes_.rend(); ++suffix) add(*suffix);
  join_specials(first);
}

/// Neighbours of one chunk that are a special word together, such as `t` and `.` of `t.Run`.
void WordCutter::join_specials(std::size_t first) {
  std::size_t out = first;
  for (std::size_t i = first; i < words_.size(); ++out) {
    std::size_t count = std::min<std::size_t>(3, words_.size() - i);
    std::string_view joined;
    for (; count > 1; --count) {
      const Word& last = words_[i + count - 1];
      joined = {words_[i].text.data(),
                static_cast<std::size_t>(last.text.data() + last.text.size() - words_[i].text.data())};
      const rules::Special* special = rules::find_special(joined);
      if (special != nullptr && special->pieces == 1) break;
    }
    Word word = words_[i];
    for (std::size_t k = 1; k < count; ++k) {
      word.characters += words_[i + k].characters;
      word.mark = word.mark && words_[i + k].mark;
      word.letter = word.letter || words_[i + k].letter;
    }
    if (count > 1) word.text = joined;
    words_[out] = word;
    i += count;
  }
  words_.resize(out);
}

/// Runs of unspaced scripts by dictionary, runs of other letters and digits whole, everything else alone.
void WordCutter::cut_unspaced(std::string_view chunk) {
  enum Kind { dictionary, plain, alone };
  const auto kind_of = [](char32_t c) {
    if (needs_dictionary(c)) return dictionary;
    return is_word_character(c) ? plain : alone;
  };
  for (std::size_t at = 0; at < chunk.size();) {
    const std::size_t begin = at;
    const Kind kind = kind_of(decode(chunk, at));
    for (std::size_t next = at; kind != alone && next < chunk.size() && kind_of(decode(chunk, next)) == kind;)
      at = next;
    const std::string_view run = chunk.substr(begin, at - begin);
    if (kind != dictionary) {
      add(run);
      continue;
    }
    if (!dictionaries_) dictionaries_ = std::make_unique<Dictionaries>();
    dictionaries_->cut(run, [this](std::string_view word) { add(word); });
  }
}

std::int64_t count_sentences(std::span<const Word> words) {
  if (words.empty()) return 0;
  std::int64_t sentences = 1;
  bool ended = false;
  for (const Word& word : words) {
    if (word.characters == 1 && ends_sentence(word.text)) {
      ended = true;
      continue;
    }
    if (!ended || word.mark) continue;
    ++sentences;
    ended = false;
  }
  return sentences;
}

bool ends_sentence(std::string_view text) {
  if (text.empty()) return false;
  const char32_t last = step_utf8(text, character_boundary(text, text.size() - 1)).code;
  if (last < 0x80) return last == '.' || last == '!' || last == '?';
  return u_hasBinaryProperty(static_cast<UChar32>(last), UCHAR_S_TERM) != 0;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty()) {
    const std::size_t white = space_at(text, 0);
    if (white == 0) break;
    text.remove_prefix(white);
  }
  while (!text.empty()) {
    const std::size_t last = character_boundary(text, text.size() - 1);
    if (space_at(text, last) == 0) break;
    text = text.substr(0, last);
  }
  return text;
}

} // namespace conclave::datakit
