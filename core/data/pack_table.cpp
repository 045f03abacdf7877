// Best-fit decreasing by group, and the stage that keeps its result.

#include "data/pack_table.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>

#include "data/parallel.hpp"
#include "data/stage.hpp"
#include "io/digest.hpp"

namespace conclave::data {
namespace {

std::string file_name(const char* kind, std::size_t domain) {
  char name[40];
  std::snprintf(name, sizeof name, "%s-%05zu", kind, domain);
  return name;
}

Result<GroupPacks> pack_documents(const TokenStore& store, std::size_t domain, std::int64_t group,
                                  std::int64_t capacity) {
  const std::int64_t first = group * pack_group;
  const std::int64_t last = std::min(first + pack_group, store.documents(Split::train, domain));
  std::vector<std::int64_t> lengths;
  for (std::int64_t d = first, start = store.document_start(Split::train, domain, first); d < last; ++d) {
    const std::int64_t end = store.document_start(Split::train, domain, d + 1);
    lengths.push_back(end - start);
    if (lengths.back() > capacity)
      return internal_error("document " + std::to_string(d) + " of domain '" + store.domain_name(domain) + "' has " +
                            std::to_string(lengths.back()) + " tokens and a pack holds " + std::to_string(capacity));
    start = end;
  }
  return pack_best_fit(lengths, capacity);
}

Status write_domain(const TokenStore& store, std::size_t domain, const PackTable::Request& request, const Stage& stage,
                    std::vector<FileEntry>& files) {
  CONCLAVE_ASSIGN(FileWriter order, FileWriter::create(stage.directory() / file_name("order", domain)));
  CONCLAVE_ASSIGN(FileWriter starts, FileWriter::create(stage.directory() / file_name("starts", domain)));
  CONCLAVE_RETURN_IF_ERROR(starts.write_value(std::uint64_t{0}));
  std::uint64_t entries = 0;
  const std::int64_t groups = (store.documents(Split::train, domain) + pack_group - 1) / pack_group;
  const auto pack = [&](std::int64_t group, int) { return pack_documents(store, domain, group, request.length + 1); };
  const auto write = [&](std::int64_t, GroupPacks&& packs) -> Status {
    CONCLAVE_RETURN_IF_ERROR(order.write_values(packs.order));
    for (const std::uint32_t size : packs.sizes) CONCLAVE_RETURN_IF_ERROR(starts.write_value(entries += size));
    return {};
  };
  CONCLAVE_RETURN_IF_ERROR(ordered_parallel<GroupPacks>(request.workers, groups, request.stop, pack, write));
  for (FileWriter* writer : {&order, &starts}) {
    CONCLAVE_ASSIGN(FileEntry entry, finish_entry(*writer));
    files.push_back(std::move(entry));
  }
  return {};
}

} // namespace

GroupPacks pack_best_fit(std::span<const std::int64_t> lengths, std::int64_t capacity) {
  std::vector<std::uint32_t> decreasing(lengths.size());
  std::iota(decreasing.begin(), decreasing.end(), 0u);
  std::stable_sort(decreasing.begin(), decreasing.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return lengths[a] > lengths[b]; });
  std::vector<std::uint32_t> pack_of(lengths.size());
  GroupPacks packs;
  std::map<std::int64_t, std::vector<std::uint32_t>> open; // packs by the room that is left in them
  for (const std::uint32_t document : decreasing) {
    const std::int64_t length = lengths[document];
    auto tightest = open.lower_bound(length);
    std::int64_t room = capacity;
    auto pack = static_cast<std::uint32_t>(packs.sizes.size());
    if (tightest == open.end()) {
      packs.sizes.push_back(0);
    } else {
      room = tightest->first;
      pack = tightest->second.back();
      tightest->second.pop_back();
      if (tightest->second.empty()) open.erase(tightest);
    }
    pack_of[document] = pack;
    ++packs.sizes[pack];
    if (room > length) open[room - length].push_back(pack);
  }
  std::vector<std::uint32_t> next(packs.sizes.size()); // where each pack's next document goes
  std::exclusive_scan(packs.sizes.begin(), packs.sizes.end(), next.begin(), 0u);
  packs.order.resize(lengths.size());
  for (std::size_t document = 0; document < lengths.size(); ++document)
    packs.order[next[pack_of[document]]++] = static_cast<std::uint16_t>(document);
  return packs;
}

Result<std::shared_ptr<const PackTable>> PackTable::make(const TokenStore& store, const Request& request) {
  const std::string key = Digest().text("packs 1").text(store.digest()).number(request.length).hex();
  CONCLAVE_ASSIGN(Stage stage, Stage::open(request.cache, "packs", key, request.stop, request.notice));
  if (!stage.complete()) {
    std::vector<FileEntry> files;
    for (std::size_t domain = 0; domain < store.domain_count(); ++domain)
      CONCLAVE_RETURN_IF_ERROR(write_domain(store, domain, request, stage, files));
    CONCLAVE_RETURN_IF_ERROR(stage.commit(std::move(files), {{"length", request.length}}));
  }
  auto table = std::make_shared<PackTable>();
  table->length_ = request.length;
  for (std::size_t domain = 0; domain < store.domain_count(); ++domain) {
    Domain& mapped = table->domains_.emplace_back();
    CONCLAVE_ASSIGN(mapped.order, MappedFile::open(stage.directory() / file_name("order", domain)));
    CONCLAVE_ASSIGN(mapped.starts, MappedFile::open(stage.directory() / file_name("starts", domain)));
    const auto starts = mapped.starts.as<std::uint64_t>();
    const auto documents = static_cast<std::uint64_t>(store.documents(Split::train, domain));
    if (mapped.order.as<std::uint16_t>().size() != documents || starts.empty() || starts.back() != documents)
      return storage_error("the pack table does not fit the prepared tokens",
                           "remove the folder; the next run makes it again", stage.directory().string());
  }
  return std::shared_ptr<const PackTable>(std::move(table));
}

std::int64_t PackTable::packs(std::size_t domain) const noexcept {
  return static_cast<std::int64_t>(domains_[domain].starts.as<std::uint64_t>().size()) - 1;
}

PackTable::Entries PackTable::entries(std::size_t domain, std::int64_t pack) const noexcept {
  const auto starts = domains_[domain].starts.as<std::uint64_t>().subspan(static_cast<std::size_t>(pack), 2);
  return {static_cast<std::int64_t>(starts[0]), static_cast<std::int64_t>(starts[1])};
}

std::int64_t PackTable::document(std::size_t domain, std::int64_t entry) const noexcept {
  return entry / pack_group * pack_group + domains_[domain].order.as<std::uint16_t>()[static_cast<std::size_t>(entry)];
}

} // namespace conclave::data
