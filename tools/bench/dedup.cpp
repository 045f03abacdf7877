// Finds the duplicates among texts with a filter as prepare does, and prints the rates of its parts: a side of data_dedup.py.
//
//   bench_dedup PLUGIN.so ID TEXTS FIRSTS [OPTION=VALUE ...]
//
// TEXTS: records of a 32-bit count and so many bytes. FIRSTS: gets for each text 64 bits, the number of the first text of its
// cluster. Annotating is timed on one thread: the median of three rounds.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "conclave/filter.hpp"
#include "conclave/testkit_data.hpp"
#include "data/clusters.hpp"
#include "plugins.hpp"

namespace conclave {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

testkit::MemoryColumns annotate(Filter& filter, const std::vector<std::string>& texts) {
  std::vector<Document> documents;
  std::size_t bytes = 0;
  for (const std::string& text : texts) {
    documents.push_back({.id = "", .text = text});
    bytes += text.size();
  }
  testkit::MemoryColumns columns(filter.columns(), texts.size());
  std::array<double, 3> rounds{};
  for (double& round : rounds) {
    const auto start = std::chrono::steady_clock::now();
    filter.annotate(documents, columns);
    round = seconds_since(start);
  }
  std::ranges::sort(rounds);
  std::printf("bytes %zu\nannotate_megabytes_per_second %.1f\n", bytes, static_cast<double>(bytes) / 1e6 / rounds[1]);
  return columns;
}

Result<std::vector<std::uint64_t>> cluster(const DedupFilter& filter, const testkit::MemoryColumns& columns) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path();
  constexpr std::size_t memory = std::size_t{256} << 20;
  data::ExternalSort sorted(folder, memory, 1), pairs(folder, memory, 1), other(folder, memory, 1);
  const auto start = std::chrono::steady_clock::now();
  std::vector<DedupKey> keys;
  for (std::size_t i = 0; i < columns.rows(); ++i) {
    keys.clear();
    filter.keys(columns.row(i), keys);
    for (const DedupKey& key : keys) CONCLAVE_RETURN_IF_ERROR(sorted.add({key.key, key.value, i}));
  }
  const data::FindAlike find_alike = [&](const data::SortRecord& value, std::span<const data::SortRecord> others,
                                         std::vector<std::uint64_t>& alike) -> Status {
    for (const data::SortRecord& each : others)
      if (filter.same(value.value, each.value)) alike.push_back(each.document);
    return {};
  };
  CONCLAVE_ASSIGN(const data::PairCounts counts, data::pair_up(sorted, find_alike, pairs, {}));
  CONCLAVE_RETURN_IF_ERROR(data::contract(pairs, other, {}));
  std::vector<std::uint64_t> firsts(columns.rows());
  std::iota(firsts.begin(), firsts.end(), 0);
  CONCLAVE_RETURN_IF_ERROR(pairs.drain([&](std::span<const data::SortRecord> records) -> Status {
    for (const data::SortRecord& record : records) firsts[record.key] = record.value;
    return {};
  }));
  std::printf("keys %lld\ncluster_seconds %.4f\n", static_cast<long long>(counts.keys), seconds_since(start));
  return firsts;
}

Status run(std::span<char*> arguments) {
  const auto texts = bench::read_texts(arguments[2]);
  testkit::FakeHost host({.phase = Phase::prepare, .plugin_id = arguments[1]});
  CONCLAVE_ASSIGN(const auto filter, bench::make<Filter>(host, arguments[0], arguments[1], arguments.subspan(4)));
  const auto dedup = std::dynamic_pointer_cast<DedupFilter>(filter);
  if (!dedup) return invalid("it compares no documents", {}, arguments[1]);
  CONCLAVE_ASSIGN(const auto firsts, cluster(*dedup, annotate(*filter, texts)));
  std::ofstream file(arguments[3], std::ios::binary);
  file.write(reinterpret_cast<const char*>(firsts.data()),
             static_cast<std::streamsize>(firsts.size() * sizeof firsts[0]));
  file.close();
  return file.fail() ? Status{storage_error("cannot write", {}, arguments[3])} : Status{};
}

} // namespace
} // namespace conclave

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: bench_dedup PLUGIN.so ID TEXTS FIRSTS [OPTION=VALUE ...]\n");
    return 2;
  }
  const conclave::Status done = conclave::run({argv + 1, argv + argc});
  if (!done.ok()) std::fprintf(stderr, "%s\n", done.error().render().c_str());
  return done.ok() ? 0 : 1;
}
