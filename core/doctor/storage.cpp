// Writing, syncing and reading back a file.

#include "doctor/storage.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "io/file_handle.hpp"

namespace conclave::doctor {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t piece = 16 << 20; ///< bytes between two syncs
constexpr std::size_t small = 4096;     ///< bytes of a write whose sync is timed
constexpr int small_writes = 20;
constexpr double slow_write = 100e6; ///< a checkpoint of 10 GB in less than two minutes
constexpr double slow_sync = 0.1;    ///< seconds; a manifest is a few of them
constexpr std::int64_t little_free = 10'000'000'000;

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Bytes that no file system can compress, different in each piece.
std::vector<std::byte> noise(std::uint64_t seed, std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (std::size_t at = 0; at + sizeof state <= size; at += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(bytes.data() + at, &state, sizeof state);
  }
  return bytes;
}

/// A write beyond the limit of a file's size is an error of its own then.
class NoSizeSignal {
 public:
  NoSizeSignal() : before_(std::signal(SIGXFSZ, SIG_IGN)) {}
  ~NoSizeSignal() { std::signal(SIGXFSZ, before_); }
  NoSizeSignal(const NoSizeSignal&) = delete;
  NoSizeSignal& operator=(const NoSizeSignal&) = delete;

 private:
  void (*before_)(int);
};

class DiskFile final : public ProbeFile {
 public:
  DiskFile(std::filesystem::path path, FileHandle file) : path_(std::move(path)), file_(std::move(file)) {}

  Status append(std::span<const std::byte> data) override {
    const NoSizeSignal quiet;
    while (!data.empty()) {
      const ssize_t done = ::write(file_.get(), data.data(), data.size());
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return file_error(path_, "write", errno);
      data = data.subspan(static_cast<std::size_t>(done));
    }
    return {};
  }
  Status sync() override { return ::fdatasync(file_.get()) == 0 ? Status{} : Status(file_error(path_, "sync", errno)); }
  Status read(std::int64_t offset, std::span<std::byte> out) override {
    // What is synced may be dropped from the machine's memory: the disk is met.
    ::posix_fadvise(file_.get(), offset, static_cast<off_t>(out.size()), POSIX_FADV_DONTNEED);
    while (!out.empty()) {
      const ssize_t done = ::pread(file_.get(), out.data(), out.size(), offset);
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) return file_error(path_, "read", done == 0 ? EIO : errno);
      offset += done;
      out = out.subspan(static_cast<std::size_t>(done));
    }
    return {};
  }

 private:
  std::filesystem::path path_;
  FileHandle file_;
};

Status write_pieces(ProbeFile& file, const StorageLimits& limits, StorageFacts& facts) {
  double seconds = 0;
  while (facts.written < limits.bytes && seconds < limits.seconds) {
    const std::vector<std::byte> data = noise(static_cast<std::uint64_t>(facts.written), piece);
    const Clock::time_point begin = Clock::now();
    CONCLAVE_RETURN_IF_ERROR(file.append(data));
    CONCLAVE_RETURN_IF_ERROR(file.sync());
    seconds += since(begin);
    facts.written += static_cast<std::int64_t>(piece);
    facts.write_rate = static_cast<double>(facts.written) / seconds;
  }
  return {};
}

Status read_pieces(ProbeFile& file, const StorageLimits& limits, StorageFacts& facts) {
  double seconds = 0;
  std::vector<std::byte> data(piece);
  for (std::int64_t at = 0; at < facts.written && seconds < limits.seconds; at += static_cast<std::int64_t>(piece)) {
    const Clock::time_point begin = Clock::now();
    CONCLAVE_RETURN_IF_ERROR(file.read(at, data));
    seconds += since(begin);
    facts.damaged = facts.damaged || data != noise(static_cast<std::uint64_t>(at), piece);
    facts.read_rate = static_cast<double>(at + static_cast<std::int64_t>(piece)) / seconds;
  }
  return {};
}

Status time_syncs(ProbeFile& file, const StorageLimits& limits, StorageFacts& facts) {
  const std::vector<std::byte> data = noise(1, small);
  std::vector<double> times;
  const Clock::time_point first = Clock::now();
  while (times.size() < small_writes && since(first) < limits.seconds) {
    const Clock::time_point begin = Clock::now();
    CONCLAVE_RETURN_IF_ERROR(file.append(data));
    CONCLAVE_RETURN_IF_ERROR(file.sync());
    times.push_back(since(begin));
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  facts.sync_seconds = times[times.size() / 2];
  return {};
}

Check disk_rate_check(const std::string& name, double rate, const std::optional<double>& expected, std::int64_t bytes,
                      double slow) {
  const std::string figure = number_text(rate / 1e6) + " MB/s over " + size_text(static_cast<double>(bytes));
  const std::string advice = "another disk for runs and caches, or fewer that share this one";
  if (expected) return at_least(name, rate / 1e6, *expected, figure, number_text(*expected) + " MB/s", advice);
  if (rate < slow) return {name, Verdict::warn, figure, "checkpoints of large models take long here: " + advice};
  return {name, Verdict::ok, figure, ""};
}

} // namespace

ProbeFile::~ProbeFile() = default;

Result<std::unique_ptr<ProbeFile>> open_probe_file(const std::filesystem::path& folder) {
  const auto path = folder / (".conclave-doctor-" + std::to_string(::getpid()));
  FileHandle file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return file_error(path, "create", errno);
  ::unlink(path.c_str()); // it has no name from here on: nothing is left, however this process ends
  return std::unique_ptr<ProbeFile>(std::make_unique<DiskFile>(path, std::move(file)));
}

StorageFacts measure_storage(ProbeFile& file, const StorageLimits& limits) {
  StorageFacts facts;
  Status status = write_pieces(file, limits, facts);
  if (status.ok()) status = read_pieces(file, limits, facts);
  if (status.ok()) status = time_syncs(file, limits, facts);
  if (!status.ok()) facts.error = status.error();
  return facts;
}

StorageFacts read_storage(const std::filesystem::path& folder, const StorageLimits& limits) {
  StorageFacts facts;
  std::error_code failed;
  const auto space = std::filesystem::space(folder, failed);
  if (auto file = open_probe_file(folder); file.ok())
    facts = measure_storage(**file, limits);
  else
    facts.error = file.error();
  if (!failed) {
    facts.free = static_cast<std::int64_t>(space.available);
    facts.size = static_cast<std::int64_t>(space.capacity);
  }
  return facts;
}

Checks judge_storage(const StorageFacts& facts, const std::filesystem::path& folder, std::int64_t needed,
                     const Expectation& expected) {
  Checks checks;
  const std::string place = " in " + folder.string();
  if (facts.size > 0) {
    const std::int64_t wanted = std::max(needed, expected.storage_free ? expected.storage_free->value : 0);
    const std::string figure =
        size_text(static_cast<double>(facts.free)) + " free of " + size_text(static_cast<double>(facts.size)) + place;
    Check free = at_least("space", static_cast<double>(facts.free), static_cast<double>(wanted), figure,
                          size_text(static_cast<double>(wanted)),
                          "remove old runs and superseded-* folders, keep fewer checkpoints, or use another disk");
    if (wanted == 0 && facts.free < little_free)
      free = {"space", Verdict::warn, figure, "a few checkpoints fill it: `conclave check FILE` says what a run needs"};
    checks.push_back(std::move(free));
  }
  if (facts.error) {
    checks.push_back({"storage", Verdict::fail, facts.error->where + ": " + facts.error->what,
                      facts.error->fix.empty() ? "runs must be able to write there" : facts.error->fix});
    return checks;
  }
  if (facts.damaged)
    checks.push_back({"storage", Verdict::fail, "other bytes were read than were written" + place,
                      "use another disk, and do not trust what lies on this one"});
  checks.push_back(
      disk_rate_check("write and sync", facts.write_rate, expected.storage_write_MBps, facts.written, slow_write));
  checks.push_back(
      disk_rate_check("read back", facts.read_rate, expected.storage_read_MBps, facts.written, slow_write));
  const std::string sync = number_text(facts.sync_seconds * 1e3) + " ms for 4 KiB";
  if (facts.sync_seconds > slow_sync)
    checks.push_back({"sync", Verdict::warn, sync, "every checkpoint waits for several: another disk, or a local one"});
  else
    checks.push_back({"sync", Verdict::ok, sync, ""});
  return checks;
}

} // namespace conclave::doctor
