// NFC: see nfc.hpp.

#include "nfc.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "conclave/datakit/utf8.hpp"
#include "unicode_classes.hpp"

namespace conclave::hf_bpe {
namespace {

class Normalizer {
 public:
  static const Normalizer& get() {
    static const Normalizer normalizer;
    return normalizer;
  }
  void append(std::string_view valid, std::string& out) const {
    std::string ordered;
    if (order_long_runs(valid, ordered)) valid = ordered;
    icu::StringByteSink<std::string> sink(&out);
    UErrorCode status = U_ZERO_ERROR;
    const icu::StringPiece piece(valid.data(), static_cast<std::int32_t>(valid.size()));
    filtered_.normalizeUTF8(0, piece, sink, nullptr, status);
    require(status, "could not normalise");
  }

 private:
  Normalizer() : known_(known()), filtered_(nfc(), known_) {}

  /// ICU orders the marks behind a letter by insertion, so that a text of a million of them would take hours. Puts longer
  /// runs than anybody writes into canonical order first, which changes no normal form. False: there are none.
  bool order_long_runs(std::string_view valid, std::string& ordered) const {
    constexpr std::size_t longest = 64; // marks
    const UnicodeClasses& classes = UnicodeClasses::get();
    const char *at = valid.data(), *copied = at;
    for (const char* end = at + valid.size(); at < end;) {
      at = classes.skip_not<mark>(at, end);
      const char* behind = classes.skip<mark>(at, end);
      if (static_cast<std::size_t>(behind - at) > 2 * longest) { // a mark has two bytes or more
        ordered.append(copied, at);
        append_ordered({at, static_cast<std::size_t>(behind - at)}, ordered);
        copied = behind;
      }
      at = behind;
    }
    if (copied == valid.data()) return false;
    ordered.append(copied, at);
    return true;
  }

  /// Decomposes and orders marks; those that are not known stay in their places.
  void append_ordered(std::string_view marks, std::string& out) const {
    struct Mark {
      std::uint8_t order;
      char32_t code;
    };
    std::vector<Mark> run;
    const auto flush = [&] {
      std::ranges::stable_sort(run, {}, &Mark::order);
      for (const Mark& each : run) datakit::append_utf8(each.code, out);
      run.clear();
    };
    const auto add = [&](UChar32 code) {
      const std::uint8_t order = known_.contains(code) ? nfc().getCombiningClass(code) : std::uint8_t{0};
      if (order == 0) flush();
      run.push_back({order, static_cast<char32_t>(code)});
      if (order == 0) flush();
    };
    for (std::size_t at = 0; at < marks.size();) {
      const auto code = static_cast<UChar32>(datakit::decode(marks, at));
      icu::UnicodeString parts;
      if (!known_.contains(code) || !nfc().getDecomposition(code, parts)) parts = code;
      for (std::int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1)) add(parts.char32At(i));
    }
    flush();
  }

  static void require(UErrorCode status, const char* what) {
    if (U_FAILURE(status)) throw std::runtime_error(std::string("ICU ") + what + ": " + u_errorName(status));
  }
  static icu::UnicodeSet known() {
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeSet set(u"[:age=9.0:]", status);
    require(status, "does not know the ages of characters");
    return set;
  }
  static const icu::Normalizer2& nfc() {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* instance = icu::Normalizer2::getNFCInstance(status);
    require(status, "has no NFC");
    return *instance;
  }
  icu::UnicodeSet known_;
  icu::FilteredNormalizer2 filtered_;
};

/// No character below U+0300 moves or composes with one before it, and all of them are normal: their first bytes are below.
constexpr unsigned char first_of_marks = 0xCC;

bool may_change(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= first_of_marks; });
}

/// The end of valid UTF-8, at most a GiB of it: ICU counts in 32 bits.
std::size_t valid_end(std::string_view text, std::size_t at) {
  for (const std::size_t most = at + (std::size_t{1} << 30); at < text.size() && at < most;) {
    const auto step = datakit::step_utf8(text, at);
    if (!step.valid) break;
    at += step.length;
  }
  return at;
}

} // namespace

std::string_view to_nfc(std::string_view text, std::string& scratch) {
  if (!may_change(text)) return text;
  scratch.clear();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = valid_end(text, at);
    if (end > at) {
      Normalizer::get().append(text.substr(at, end - at), scratch);
      at = end;
    } else {
      const std::size_t length = datakit::step_utf8(text, at).length;
      scratch.append(text, at, length);
      at += length;
    }
  }
  return scratch;
}

} // namespace conclave::hf_bpe
