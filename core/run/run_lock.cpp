// flock with the owner's name.

#include "run/run_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace conclave {
namespace {

constexpr const char* lock_name = ".lock";

Error cannot(const std::filesystem::path& path, const std::string& what, int error_number) {
  return storage_error("cannot " + what + ": " + std::generic_category().message(error_number),
                       "make it writable, or choose another run directory", path.string());
}

std::string this_process() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return "process " + std::to_string(::getpid()) + " on " + host.data();
}

/// The owner's text, one line; "another process" when it has not written it yet.
std::string read_owner(int descriptor) {
  std::array<char, 512> text{};
  const ssize_t got = ::pread(descriptor, text.data(), text.size() - 1, 0);
  std::string owner(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  owner = owner.substr(0, owner.find('\n'));
  for (char& c : owner)
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  return owner.empty() ? "another process" : owner;
}

} // namespace

Result<RunDirectoryLock> RunDirectoryLock::acquire(const std::filesystem::path& run_directory) {
  std::error_code failed;
  std::filesystem::create_directories(run_directory, failed);
  if (failed) return cannot(run_directory, "make the run directory", failed.value());
  const std::filesystem::path path = run_directory / lock_name;
  RunDirectoryLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (lock.descriptor_ < 0) return cannot(run_directory, "write into the run directory", errno);
  while (::flock(lock.descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK)
      return storage_error("the run directory is in use by " + read_owner(lock.descriptor_),
                           "wait for it, stop it, or choose another run directory", run_directory.string());
    return cannot(path, "lock the run directory", errno);
  }
  // What a dead owner left is overwritten. A failure to write (a full disk) costs the name in a message, not the lock.
  const std::string text = this_process() + "\n";
  if (::ftruncate(lock.descriptor_, 0) == 0) (void)!::pwrite(lock.descriptor_, text.data(), text.size(), 0);
  return lock;
}

RunDirectoryLock::RunDirectoryLock(RunDirectoryLock&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

RunDirectoryLock& RunDirectoryLock::operator=(RunDirectoryLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

RunDirectoryLock::~RunDirectoryLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

} // namespace conclave
