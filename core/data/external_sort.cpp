// Runs on disk and their merge by a heap.

#include "data/external_sort.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <thread>

namespace conclave::data {
namespace {

constexpr std::size_t least_memory = std::size_t{1} << 20;
constexpr std::size_t piece_bytes = std::size_t{16} << 20; // of a thread; fewer sort as fast alone
constexpr std::size_t least_block = std::size_t{16} << 10; // read at once; smaller ones seek more than they read
constexpr std::size_t handed_over = 4096;                  // records at once
constexpr std::size_t least_records = 2048;                // to begin with

Status write_all(int file, std::span<const std::byte> data, std::uint64_t at, const std::filesystem::path& folder) {
  while (!data.empty()) {
    const ssize_t written = ::pwrite(file, data.data(), data.size(), static_cast<off_t>(at));
    if (written < 0) {
      if (errno == EINTR) continue;
      return file_error(folder, "write records that are being sorted", errno);
    }
    data = data.subspan(static_cast<std::size_t>(written));
    at += static_cast<std::uint64_t>(written);
  }
  return {};
}

Status read_all(int file, std::span<std::byte> data, std::uint64_t at, const std::filesystem::path& folder) {
  while (!data.empty()) {
    const ssize_t got = ::pread(file, data.data(), data.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return file_error(folder, "read records that are being sorted", got < 0 ? errno : EIO);
    data = data.subspan(static_cast<std::size_t>(got));
    at += static_cast<std::uint64_t>(got);
  }
  return {};
}

/// A file that nobody else sees and that goes with its handle.
Result<FileHandle> unnamed_file(const std::filesystem::path& folder) {
  std::string name = (folder / "sort-XXXXXX").string();
  FileHandle file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) return file_error(folder, "create a file to sort in", errno);
  if (::unlink(name.c_str()) != 0) return file_error(name, "remove the file's name", errno);
  return file;
}

} // namespace

/// A sorted run while it is merged: what is in memory, and what is still in the file.
struct ExternalSort::Source {
  std::span<const SortRecord> loaded;
  Run rest;
  std::vector<SortRecord> block;
};

ExternalSort::ExternalSort(std::filesystem::path folder, std::size_t memory, int workers)
    : folder_(std::move(folder)),
      memory_(std::max(memory, least_memory)),
      room_(memory_ / sizeof(SortRecord)),
      workers_(workers) {}

Status ExternalSort::add(const SortRecord& record) {
  if (records_.size() == records_.capacity()) {
    // By halves of the room: while records move, the old place and the part of the new one that is touched fit into it.
    std::size_t next = room_;
    while (next / 2 > std::max(records_.capacity(), least_records)) next /= 2;
    records_.reserve(next);
  }
  records_.push_back(record);
  ++added_;
  return records_.size() < room_ ? Status{} : spill();
}

std::vector<std::span<const SortRecord>> ExternalSort::sort_pieces() {
  const std::size_t bytes = records_.size() * sizeof(SortRecord);
  const std::size_t count = std::clamp<std::size_t>(bytes / piece_bytes, 1, static_cast<std::size_t>(workers_));
  std::vector<std::span<const SortRecord>> pieces;
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t begin = records_.size() * i / count, end = records_.size() * (i + 1) / count;
    const auto piece = std::span(records_).subspan(begin, end - begin);
    pieces.push_back(piece);
    if (i + 1 < count) {
      threads.emplace_back([piece] { std::sort(piece.begin(), piece.end()); });
    } else {
      std::sort(piece.begin(), piece.end());
    }
  }
  return pieces; // the threads join first
}

Status ExternalSort::spill() {
  if (!file_) {
    CONCLAVE_ASSIGN(file_, unnamed_file(folder_));
  }
  for (const auto piece : sort_pieces()) {
    const auto data = std::as_bytes(piece);
    CONCLAVE_RETURN_IF_ERROR(write_all(file_.get(), data, file_end_, folder_));
    runs_.push_back({file_end_, file_end_ + data.size()});
    file_end_ += data.size();
  }
  records_.clear();
  return {};
}

Status ExternalSort::refill(Source& source, std::size_t block) const {
  const std::size_t count = std::min<std::size_t>(block, (source.rest.end - source.rest.begin) / sizeof(SortRecord));
  source.block.resize(count);
  const auto data = std::as_writable_bytes(std::span(source.block));
  CONCLAVE_RETURN_IF_ERROR(read_all(file_.get(), data, source.rest.begin, folder_));
  source.rest.begin += data.size();
  source.loaded = source.block;
  return {};
}

Status ExternalSort::drain(const std::function<Status(std::span<const SortRecord>)>& consume) {
  std::vector<Source> sources;
  std::size_t block = 0;
  if (runs_.empty()) {
    for (const auto piece : sort_pieces()) sources.push_back({piece, {}, {}});
  } else {
    CONCLAVE_RETURN_IF_ERROR(spill());
    records_ = {};
    if (runs_.size() * least_block > memory_)
      return unsupported("sorting " + std::to_string(file_end_ >> 20) + " MiB in " + std::to_string(memory_ >> 20) +
                             " MiB of memory makes " + std::to_string(runs_.size()) +
                             " runs, too many to merge at once",
                         "raise data.memory");
    block = memory_ / runs_.size() / sizeof(SortRecord);
    for (const Run& run : runs_) {
      sources.push_back({{}, run, {}});
      CONCLAVE_RETURN_IF_ERROR(refill(sources.back(), block));
    }
  }
  std::erase_if(sources, [](const Source& source) { return source.loaded.empty(); });

  const auto later = [](const Source* a, const Source* b) { return b->loaded.front() < a->loaded.front(); };
  std::vector<Source*> heap; // the least record on top
  for (Source& source : sources) heap.push_back(&source);
  std::make_heap(heap.begin(), heap.end(), later);
  std::vector<SortRecord> out;
  std::optional<SortRecord> last;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    Source& source = *heap.back();
    const SortRecord record = source.loaded.front();
    source.loaded = source.loaded.subspan(1);
    if (source.loaded.empty() && source.rest.begin < source.rest.end) CONCLAVE_RETURN_IF_ERROR(refill(source, block));
    if (source.loaded.empty()) {
      heap.pop_back();
    } else {
      std::push_heap(heap.begin(), heap.end(), later);
    }
    if (record == last) continue;
    last = record;
    out.push_back(record);
    if (out.size() == handed_over) {
      CONCLAVE_RETURN_IF_ERROR(consume(out));
      out.clear();
    }
  }
  if (!out.empty()) CONCLAVE_RETURN_IF_ERROR(consume(out));
  records_ = {};
  runs_.clear();
  file_.reset();
  file_end_ = added_ = 0;
  return {};
}

} // namespace conclave::data
