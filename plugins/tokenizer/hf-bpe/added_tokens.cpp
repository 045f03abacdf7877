// Added tokens: see added_tokens.hpp.

#include "added_tokens.hpp"

#include <algorithm>
#include <cstring>

#include "unicode_classes.hpp"

namespace conclave::hf_bpe {
namespace {

/// Where the white space at the end of text[begin, end) starts.
std::size_t before_spaces(std::string_view text, std::size_t begin, std::size_t end) {
  const UnicodeClasses& classes = UnicodeClasses::get();
  while (end > begin) {
    std::size_t start = end - 1;
    while (start > begin && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    const Character c = classes.at(text.data() + start, text.data() + end);
    if (!(c.classes & space) || start + c.length != end) break;
    end = start;
  }
  return end;
}

} // namespace

AddedTokenFinder::AddedTokenFinder() : nodes_(1) {}

std::uint32_t AddedTokenFinder::child(std::uint32_t node, unsigned char byte) const noexcept {
  const auto& next = nodes_[node].next;
  const auto found = std::ranges::lower_bound(next, byte, {}, &std::pair<unsigned char, std::uint32_t>::first);
  return found != next.end() && found->first == byte ? found->second : 0;
}

void AddedTokenFinder::add(std::string_view text, const AddedToken& token) {
  if (text.empty()) return;
  std::uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    std::uint32_t following = child(node, byte);
    if (following == 0) {
      following = static_cast<std::uint32_t>(nodes_.size());
      auto& next = nodes_[node].next;
      next.insert(std::ranges::lower_bound(next, byte, {}, &std::pair<unsigned char, std::uint32_t>::first),
                  {byte, following});
      nodes_.emplace_back();
    }
    node = following;
  }
  nodes_[node].token = &token;
}

std::pair<const AddedToken*, std::size_t> AddedTokenFinder::longest(std::string_view text) const noexcept {
  std::pair<const AddedToken*, std::size_t> found{};
  std::uint32_t node = 0;
  for (std::size_t at = 0; at < text.size();) {
    node = child(node, static_cast<unsigned char>(text[at++]));
    if (node == 0) break;
    if (nodes_[node].token) found = {nodes_[node].token, at};
  }
  return found;
}

void AddedTokenFinder::find(std::string_view text, bool skip_special, std::vector<Section>& sections) const {
  const UnicodeClasses& classes = UnicodeClasses::get();
  const auto& firsts = nodes_[0].next;
  bool starts[256] = {};
  for (const auto& [byte, node] : firsts) starts[byte] = true;
  std::size_t done = 0; // bytes that are in a section
  for (std::size_t at = 0; at < text.size();) {
    if (firsts.size() == 1) { // nearly always: all of them begin with '<'
      const void* found = std::memchr(text.data() + at, firsts[0].first, text.size() - at);
      if (!found) break;
      at = static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
    } else if (!starts[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const auto [token, length] = longest(text.substr(at));
    if (!token) {
      ++at;
      continue;
    }
    std::size_t start = at, stop = at + length;
    at = stop; // a match is behind us whatever its options make of it
    if (skip_special && token->special) continue;
    if (token->lstrip) start = before_spaces(text, std::min(done, start), start);
    if (token->rstrip) {
      const char* end = text.data() + text.size();
      stop = static_cast<std::size_t>(classes.skip<space>(text.data() + stop, end) - text.data());
    }
    if (done < start) sections.push_back({-1, text.substr(done, start - done)});
    sections.push_back({token->id, text.substr(start, stop - start)});
    done = stop;
  }
  if (done < text.size()) sections.push_back({-1, text.substr(done)});
}

} // namespace conclave::hf_bpe
