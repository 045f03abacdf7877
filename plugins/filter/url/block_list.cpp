// BlockList: see block_list.hpp.

#include "block_list.hpp"

#include <algorithm>
#include <set>

#include "conclave/datakit/byte_stream.hpp"
#include "conclave/datakit/files.hpp"
#include "conclave/datakit/words.hpp"

namespace conclave::url {
namespace {

constexpr std::size_t max_entry_bytes = 1 << 16;

std::string lowered(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return lower;
}

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'); }

std::string letters_and_digits(std::string_view text) {
  std::string kept = lowered(text);
  std::erase_if(kept, [](char c) { return !is_alphanumeric(c); });
  return kept;
}

/// Calls add(std::string_view entry) for each entry of the files; adds them to what is to be hashed.
template <class Add>
Status read_lists(const std::vector<std::string>& paths, std::string& all, Add add) {
  for (const std::string& path : paths) {
    CONCLAVE_ASSIGN(auto stream, datakit::open_bytes(path));
    datakit::LineReader lines(std::move(stream), max_entry_bytes);
    std::string line;
    for (;;) {
      CONCLAVE_ASSIGN(const auto found, lines.next(line));
      if (found == datakit::LineReader::Line::none) break;
      if (found == datakit::LineReader::Line::too_long)
        return invalid("line " + std::to_string(lines.count()) + " is longer than any entry", "give an entry a line",
                       path);
      const std::string_view entry = datakit::trimmed(line);
      if (entry.empty() || entry.starts_with('#')) continue;
      add(entry);
      all.append(entry) += '\n';
    }
  }
  all += '\0';
  return {};
}

} // namespace

std::string host_of(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  if (const std::size_t user = url.rfind('@'); user != std::string_view::npos) url.remove_prefix(user + 1);
  std::string host = lowered(url.substr(0, url.find(':')));
  while (host.ends_with('.')) host.pop_back();
  return host;
}

Result<BlockList> BlockList::load(const BlockListFiles& files) {
  BlockList list;
  std::string all;
  const auto into = [](Set& set) { return [&set](std::string_view entry) { set.emplace(lowered(entry)); }; };
  CONCLAVE_RETURN_IF_ERROR(read_lists(files.hosts, all, into(list.hosts_)));
  CONCLAVE_RETURN_IF_ERROR(read_lists(files.urls, all, [&](std::string_view entry) { list.urls_.emplace(entry); }));
  CONCLAVE_RETURN_IF_ERROR(read_lists(files.words, all, into(list.words_)));
  CONCLAVE_RETURN_IF_ERROR(read_lists(files.soft_words, all, into(list.soft_words_)));
  CONCLAVE_RETURN_IF_ERROR(read_lists(files.parts, all, [&](std::string_view entry) {
    if (std::string part = letters_and_digits(entry); !part.empty()) list.parts_.push_back(std::move(part));
  }));
  list.digest_ = datakit::hash_hex(all);
  return list;
}

Finding BlockList::find_in(std::string_view url) const {
  Finding found;
  if (url.empty()) return found;
  found.url = urls_.contains(url);
  const std::string host = host_of(url);
  for (std::string_view rest = host; !rest.empty() && !found.host;) {
    found.host = hosts_.contains(rest);
    const std::size_t dot = rest.find('.');
    rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  }
  const std::string lower = lowered(url);
  std::set<std::string_view> soft;
  for (std::size_t begin = 0; begin < lower.size();) {
    std::size_t end = begin;
    while (end < lower.size() && is_alphanumeric(lower[end])) ++end;
    const std::string_view word = std::string_view(lower).substr(begin, end - begin);
    if (!word.empty()) {
      found.word = found.word || words_.contains(word);
      if (soft_words_.contains(word)) soft.insert(word);
    }
    begin = end + 1;
  }
  found.soft_words = static_cast<int>(soft.size());
  const std::string joined = letters_and_digits(url);
  found.part =
      std::ranges::any_of(parts_, [&](const std::string& part) { return joined.find(part) != std::string::npos; });
  return found;
}

} // namespace conclave::url
