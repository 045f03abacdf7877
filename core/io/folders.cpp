// fsync of folders.

#include "io/folders.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <vector>

#include "io/file_handle.hpp"

namespace conclave {
namespace fs = std::filesystem;

Status sync_directory(const fs::path& path) {
  const fs::path named = path.empty() ? "." : path;
  const FileHandle folder(::open(named.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return file_error(named, "open the folder", errno);
  // Some network file systems refuse to sync a folder (EINVAL); a rename is then as durable as they make it.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) return file_error(named, "write the folder to disk", errno);
  return {};
}

Status make_directories(const fs::path& path) {
  std::vector<fs::path> missing; // the deepest first
  for (fs::path at = path; !at.empty(); at = at.parent_path()) {
    std::error_code failed;
    const fs::file_status status = fs::status(at, failed);
    if (fs::is_directory(status)) break;
    if (fs::exists(status)) return file_error(at, "make the folder", ENOTDIR);
    if (status.type() == fs::file_type::none) return file_error(at, "make the folder", failed.value());
    missing.push_back(at);
  }
  for (auto each = missing.rbegin(); each != missing.rend(); ++each) {
    if (::mkdir(each->c_str(), 0777) != 0) {
      const int error_number = errno;
      std::error_code ignored; // another process may have made it; a link into nowhere is there, too, and is no folder
      if (error_number != EEXIST || !fs::is_directory(*each, ignored))
        return file_error(*each, "make the folder", error_number);
    }
    CONCLAVE_RETURN_IF_ERROR(sync_directory(each->parent_path()));
  }
  return {};
}

} // namespace conclave
