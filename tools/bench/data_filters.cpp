// Annotates texts with filter plugins as prepare does, and prints MB/s: a side of data_filters.py.
//
//   bench_data_filters TEXTS LANGUAGE VERDICTS THREADS PLUGIN.so...
//
// TEXTS: records of a 32-bit count and so many bytes. VERDICTS: gets a line for each text, what each filter says of it (the
// reason, or nothing) with tabs between; `-` for none. VERDICTS.<n>: the texts as the n-th filter edits them. The figure is of annotate() alone, all filters one after another over
// batches as prepare makes them: the median of five rounds.

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "conclave/filter.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_data.hpp"

namespace conclave {
namespace {

constexpr std::size_t batch_documents = 1024, batch_bytes = 1 << 20;

struct Batch {
  std::vector<Document> documents;
};

std::vector<Batch> cut_into_batches(std::string_view bytes, std::string_view language) {
  std::vector<Batch> batches(1);
  std::size_t filled = 0;
  for (std::size_t at = 0; at + 4 <= bytes.size();) {
    std::uint32_t size = 0;
    std::memcpy(&size, bytes.data() + at, 4);
    if (batches.back().documents.size() == batch_documents || filled > batch_bytes) {
      batches.emplace_back();
      filled = 0;
    }
    batches.back().documents.push_back({.id = "bench", .text = bytes.substr(at + 4, size), .language = language});
    filled += size;
    at += 4 + size;
  }
  return batches;
}

/// The plugin of a file named as the build names it: `filter-<name>.so`.
Result<std::shared_ptr<Filter>> make(HostContext& host, const std::filesystem::path& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return invalid(dlerror());
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, plugin_entry_symbol));
  if (!entry) return invalid("it has no entry", {}, path);
  const std::string id = "filter/" + path.stem().string().substr(sizeof "filter-" - 1);
  return testkit::make<Filter>(testkit::descriptor_of(entry, id), host, {});
}

/// One instance of each filter: a worker's.
using Filters = std::vector<std::shared_ptr<Filter>>;

double annotate(const std::vector<Batch>& batches, const std::vector<Filters>& workers) {
  std::atomic<std::size_t> next = 0;
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (const Filters& filters : workers)
      threads.emplace_back([&] {
        for (std::size_t b = next++; b < batches.size(); b = next++)
          for (const auto& filter : filters) {
            testkit::MemoryColumns columns(filter->columns(), batches[b].documents.size());
            filter->annotate(batches[b].documents, columns);
          }
      });
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Status write_verdicts(const std::vector<Batch>& batches, const Filters& filters, const std::string& path) {
  std::ofstream file(path);
  for (const Batch& batch : batches) {
    std::vector<std::string> lines(batch.documents.size());
    for (std::size_t f = 0; f < filters.size(); ++f) {
      testkit::MemoryColumns columns(filters[f]->columns(), lines.size());
      filters[f]->annotate(batch.documents, columns);
      for (std::size_t i = 0; i < lines.size(); ++i) {
        const Verdict verdict = filters[f]->select(columns.row(i));
        lines[i] += (f == 0 ? "" : "\t") + std::string(verdict.reason ? verdict.reason : "");
      }
    }
    for (const std::string& line : lines) file << line << '\n';
  }
  file.close();
  return file.fail() ? Status{storage_error("cannot write the verdicts", {}, path)} : Status{};
}

Status write_edits(const std::vector<Batch>& batches, const EditFilter& filter, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  std::string edited;
  for (const Batch& batch : batches)
    for (const Document& document : batch.documents) {
      const std::string_view text = filter.edit(document, edited) ? std::string_view(edited) : document.text;
      const auto size = static_cast<std::uint32_t>(text.size());
      file.write(reinterpret_cast<const char*>(&size), sizeof size).write(text.data(), size);
    }
  file.close();
  return file.fail() ? Status{storage_error("cannot write the texts", {}, path)} : Status{};
}

Status run(std::span<char*> arguments) {
  std::ifstream file(arguments[0], std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const std::vector<Batch> batches = cut_into_batches(bytes, arguments[1]);
  testkit::FakeHost host({.phase = Phase::prepare, .plugin_id = "bench"});
  std::vector<Filters> workers(std::max<std::size_t>(1, std::strtoul(arguments[3], nullptr, 10)));
  for (Filters& filters : workers)
    for (const char* path : arguments.subspan(4)) {
      CONCLAVE_ASSIGN(auto filter, make(host, path));
      filters.push_back(std::move(filter));
    }
  if (const std::string path = arguments[2]; path != "-") {
    for (std::size_t f = 0; f < workers.front().size(); ++f)
      if (const auto* filter = dynamic_cast<const EditFilter*>(workers.front()[f].get()))
        CONCLAVE_RETURN_IF_ERROR(write_edits(batches, *filter, path + "." + std::to_string(f + 1)));
    return write_verdicts(batches, workers.front(), path);
  }
  std::array<double, 5> seconds{};
  for (double& round : seconds) round = annotate(batches, workers);
  std::ranges::sort(seconds);
  std::printf("bytes %zu\nmegabytes_per_second %.2f\n", bytes.size(),
              static_cast<double>(bytes.size()) / 1e6 / seconds[2]);
  return {};
}

} // namespace
} // namespace conclave

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: bench_data_filters TEXTS LANGUAGE VERDICTS|- THREADS PLUGIN.so...\n");
    return 2;
  }
  const conclave::Status done = conclave::run({argv + 1, argv + argc});
  if (!done.ok()) std::fprintf(stderr, "%s\n", done.error().render().c_str());
  return done.ok() ? 0 : 1;
}
