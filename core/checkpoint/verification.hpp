// Reading back what a manifest vouches for.
//
// Threading: functions without state.
#pragma once

#include <cstddef>

#include "checkpoint/manifest.hpp"
#include "checkpoint/verified_files.hpp"
#include "conclave/status.hpp"

namespace conclave {

/// Of the files of a manifest, by name, every `count`-th from `index` on: one rank's part of the work.
struct Share {
  std::size_t index = 0, count = 1;
};

/// Reads each file of the share whole: size and checksum, and that every range which the manifest has in it is one of the
/// file's own header. A damaged file is named.
Status verify_contents(const DirectoryHandle& folder, const Manifest& manifest, Share share = {});

/// The manifest of a checkpoint folder, checked as decode_manifest() does.
Result<Manifest> read_manifest(const DirectoryHandle& folder);

} // namespace conclave
